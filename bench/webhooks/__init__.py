"""The intake of webhooks beside a bare insert."""
