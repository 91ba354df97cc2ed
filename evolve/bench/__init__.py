"""Comparing strategies: equal budgets, several problems and seeds, and the uncertainty of it all."""
