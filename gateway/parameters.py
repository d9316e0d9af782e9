"""Parameters that several routes read in the same way."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Query

from chassis.errors import invalid
from gateway.models import IDENTIFIER

_MOST_IDS = 100
_IDENTIFIER = re.compile(IDENTIFIER)

Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.")]
Cursor = Annotated[
    str, Query(max_length=512, pattern=r"^[A-Za-z0-9_-]*$", description="`next_cursor` of the page before.")
]


# Said to clients; checked by `id_list`, whose answer says what is wrong.
ID_LIST = {"pattern": r"^[A-Za-z0-9._~-]{1,64}(,[A-Za-z0-9._~-]{1,64}){0,99}$"}


def id_list(field: str, text: str) -> list[str]:
    """Comma-separated ids, 1 to 100, each once. Raises INVALID_INPUT that names the field."""
    ids = list(dict.fromkeys(text.split(",")))
    if len(ids) > _MOST_IDS:
        raise invalid(f"at most {_MOST_IDS} ids at once", **{field: f"must be at most {_MOST_IDS}"})
    if not all(_IDENTIFIER.fullmatch(each) for each in ids):
        raise invalid("these are not ids", **{field: "must be ids, separated by commas"})
    return ids
