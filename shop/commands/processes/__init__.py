"""Commands on the processes of a shop: starting, stopping, asking. `cli.py` has their options."""
