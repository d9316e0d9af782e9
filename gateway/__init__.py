"""gateway: the client-facing edge. REST over gRPC, every cross-cutting policy once, and no business rule."""
