"""What a candidate may contain, and when two are the same program."""
