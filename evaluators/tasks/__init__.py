"""Tasks with their user's own evaluator, sealed like a candidate."""
