"""gRPC: clients and servers with deadlines, identity, traces and errors."""
