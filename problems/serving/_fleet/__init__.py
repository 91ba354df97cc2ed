"""What serving/fleet_scaling is made of."""
