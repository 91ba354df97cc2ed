"""Shop scheduling: jobs that visit several machines."""
