"""What serving/live_migration is made of."""
