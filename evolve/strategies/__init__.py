"""Search strategies, one class per file."""
