"""Readers of requests: public traces, and CSV files of one's own."""
