"""Sales, and how far the log was read for them, in the service's own database."""
