"""The commands of the `evolve` program, one file per group."""
