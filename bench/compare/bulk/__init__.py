"""Bulk: 64 MiB up and down and 100,000 rows, over HTTP and over gRPC's streams."""
