"""What crossed a boundary, byte by byte, as events of the span that stands for the crossing. For development only."""
