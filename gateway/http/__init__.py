"""HTTP semantics of the edge: entity tags, ranges, schemas, serializers."""
