"""Our own processes behind the edge; none of them imports another."""
