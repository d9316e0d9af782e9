"""`shop logs`: one order's lines from all processes."""
