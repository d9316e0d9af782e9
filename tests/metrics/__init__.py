"""The shop's metrics, as Prometheus itself reads them."""
