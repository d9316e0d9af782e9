"""`shop audit`: its judgement by itself, and against a running shop whose records are altered."""
