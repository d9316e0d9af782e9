"""The smallest client of each protocol as a person writes it: E9 counts lines, tests run those in Python."""
