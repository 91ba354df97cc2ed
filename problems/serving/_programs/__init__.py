"""Programs of several calls, and what serving/agent_programs is made of."""
