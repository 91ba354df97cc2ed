"""Proposers: what turns a proposal into source text."""
