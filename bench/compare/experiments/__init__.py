"""The experiments E1 to E9, and the four ways to lie."""
