"""What serving/continuous_batching is made of."""
