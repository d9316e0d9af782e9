"""Two traces side by side: the same hop of each in one row, by protocol, from, to and operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Any

# What may differ between two runs of the same hop without its being another story.
_COMPARED = ("state", "note", "attempt", "error")

Hop = Mapping[str, Any]


class Mark(StrEnum):
    """Relation of the right hop of a row to the left one."""

    SAME = "same"
    DIFFERENT = "different"  # the same hop, with another outcome
    MISSING = "missing"  # only left
    EXTRA = "extra"  # only right


def compare(left: Sequence[Hop], right: Sequence[Hop]) -> list[dict[str, Any]]:
    """Rows of `left`, `right` (None where there is none) and `mark`, in the order of the hops."""
    rows: list[dict[str, Any]] = []
    matcher = SequenceMatcher(None, [_key(hop) for hop in left], [_key(hop) for hop in right], autojunk=False)
    for what, left_from, left_to, right_from, right_to in matcher.get_opcodes():
        if what == "equal":
            rows += [_pair(*pair) for pair in zip(left[left_from:left_to], right[right_from:right_to], strict=True)]
        else:
            rows += [_row(hop, None, Mark.MISSING) for hop in left[left_from:left_to]]
            rows += [_row(None, hop, Mark.EXTRA) for hop in right[right_from:right_to]]
    return rows


def _pair(left: Hop, right: Hop) -> dict[str, Any]:
    same = all(left[name] == right[name] for name in _COMPARED)
    return _row(left, right, Mark.SAME if same else Mark.DIFFERENT)


def _row(left: Hop | None, right: Hop | None, mark: Mark) -> dict[str, Any]:
    return {"left": left, "right": right, "mark": mark}


def _key(hop: Hop) -> tuple[str, str, str, str]:
    return hop["protocol"], hop["from"], hop["to"], hop["operation"]
