"""What Prometheus is told, by Prometheus itself."""
