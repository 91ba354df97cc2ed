"""What serving/fair_sharing is made of."""
