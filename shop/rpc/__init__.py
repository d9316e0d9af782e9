"""`shop call`: one gRPC call by hand, described by the server itself (reflection). `calling.py` makes it."""
