"""HTTP servers: what every request passes, and how health, metrics and problems are served."""
