"""What E1, E5 and E6 measure of the shop itself, and the second gateway that they need."""
