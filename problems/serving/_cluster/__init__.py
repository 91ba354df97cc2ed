"""Several servers behind a router, with prefix caches."""
