"""The upstreams, one typed client each."""
