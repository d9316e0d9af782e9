"""Commands on orders and their records. `cli.py` has their options."""
