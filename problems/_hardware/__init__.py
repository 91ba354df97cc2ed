"""Device models shared by problems: GPU rooflines, model shapes, step costs, transfers."""
