"""Single-machine scheduling."""
