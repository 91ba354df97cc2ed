"""One server: its data, its engine, and the replay that checks it."""
