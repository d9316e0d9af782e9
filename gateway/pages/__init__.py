"""Pages of the client-facing port: the start page, and explorers that need no network."""
