"""Blocks of KV cache that requests with equal prefixes share."""
