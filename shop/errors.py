"""The error of a command that cannot be carried out."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class Refused(Exception):
    """A refused command: nothing was done; the text is the reason and the remedy. `shop.cli` exits with 2."""


def nearest(name: str, known: Iterable[str], else_: str = "") -> str:
    """The end of a sentence that refuses an unknown name: which known one is nearest to it; `else_` where none is."""
    found = get_close_matches(name, list(known), n=1)
    return f'. Did you mean "{found[0]}"?' if found else else_
