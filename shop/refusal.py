"""How a command says that it cannot do what it was asked."""

from __future__ import annotations


class Refused(Exception):
    """Nothing was done, and the text says why and what would help. `shop.cli` prints it and exits with 2."""
