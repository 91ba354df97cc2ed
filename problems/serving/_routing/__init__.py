"""What serving/request_routing is made of."""
