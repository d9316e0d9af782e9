"""Identity: principals, tokens, policies and TLS."""
