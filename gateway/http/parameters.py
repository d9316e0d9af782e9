"""Parameters that several routes read in the same way."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Header, Query

from chassis.errors import invalid
from gateway.http.schemas import IDENTIFIER

_MAX_IDS = 100
_IDENTIFIER = re.compile(IDENTIFIER)

Limit = Annotated[int, Query(ge=1, le=100, description="Maximum number of items.")]
Cursor = Annotated[
    str, Query(max_length=512, pattern=r"^[A-Za-z0-9_-]*$", description="`next_cursor` of the page before.")
]

IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", description="`ETag`s of the versions that the client has.")
]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Key chosen by the client: a repeat with the same key and body gets the same answer.",
        examples=["6f1c2c1e-8a55-4f0e-9d3b-0a4f5f1f2d11"],
    ),
]


REPLAYED = {
    "description": "`true`: the key was known, this is the first answer again, and nothing new was placed.",
    "schema": {"type": "string", "enum": ["true"]},
}

# Documented for clients; checked by `id_list`, whose answer names what is wrong.
_ID_LIST = {"pattern": r"^[A-Za-z0-9._~-]{1,64}(,[A-Za-z0-9._~-]{1,64}){0,99}$"}


def ids_of(description: str, example: str) -> Any:
    """The declaration of a query parameter that `id_list` reads."""
    return Query(description=description, examples=[example], json_schema_extra=_ID_LIST)


def id_list(field: str, text: str) -> list[str]:
    """Comma-separated ids, 1 to 100, each once. Raises INVALID_INPUT that names the field."""
    ids = list(dict.fromkeys(text.split(",")))
    if len(ids) > _MAX_IDS:
        at_most = f"must have at most {_MAX_IDS} ids"
        raise invalid(f"request {at_most}", **{field: at_most})
    if not all(_IDENTIFIER.fullmatch(each) for each in ids):
        raise invalid("invalid ids", **{field: "must be ids, separated by commas"})
    return ids
