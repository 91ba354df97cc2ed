"""Generators of requests, fitted to public traces."""
