"""Published methods for one machine and total tardiness, as whole programs."""
