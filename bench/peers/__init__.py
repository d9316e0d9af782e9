"""Our servers beside Node's that carry the same duties."""
