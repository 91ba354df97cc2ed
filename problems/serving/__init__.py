"""Serving large language models on GPUs: one engine, many decisions."""
