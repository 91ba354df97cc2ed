"""What serving/prefix_eviction is made of."""
