"""Simulation kernels shared by families of problems."""
