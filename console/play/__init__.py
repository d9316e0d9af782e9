"""Play: the calls of every protocol that the page makes through this process, in development only (ADR 24)."""
