"""The examples with which the lists of CONTRIBUTING.md are executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """What is done by one list of CONTRIBUTING.md.

    `heading` is that of its section; `names` has the value of each `<name>` in it. `new` is path -> content, `changed`
    path -> replacements of (old, new) text; what the section's commands write is in neither. `needed` are files without
    which its checks must fail.
    """

    heading: str
    names: Mapping[str, str]
    new: Mapping[str, str]
    changed: Mapping[str, Sequence[tuple[str, str]]]
    needed: Sequence[str]
