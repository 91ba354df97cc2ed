"""What a worker loses before it sees a candidate, and the proof that it is lost."""
