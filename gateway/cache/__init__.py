"""The shared cache of public reads (RFC 9111)."""
