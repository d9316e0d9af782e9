"""OTLP: exports in over HTTP, spans out of them, and a trace in its JSON encoding."""
