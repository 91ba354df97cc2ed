"""Queues: jobs that arrive over time, and servers that do not know everything about them."""
