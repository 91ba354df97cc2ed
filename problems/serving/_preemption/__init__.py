"""What serving/preemption is made of."""
