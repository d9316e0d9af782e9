"""The command line: starts and supervises the shop's processes, and looks into a running shop."""
