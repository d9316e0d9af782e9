"""HTTP for a WSGI application: strict heads, a reserve for health checks, faults on demand."""
