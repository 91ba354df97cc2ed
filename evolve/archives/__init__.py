"""Archives of the programs worth keeping, one class per file."""
