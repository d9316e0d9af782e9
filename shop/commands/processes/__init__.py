"""Commands on the processes of a shop: starting, stopping, checking. `cli.py` has their options."""
