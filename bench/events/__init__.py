"""Event logs beside their bare brokers."""
