"""JSON as it travels between systems: UTF-8, without a byte order mark (RFC 8259, section 8.1)."""

from __future__ import annotations

import json
from typing import Any


def parsed(body: bytes) -> Any:
    """The value of a JSON text. Raises `json.JSONDecodeError`, for another encoding, too.

    The standard library's own guesses UTF-16 and UTF-32 from the bytes, which what reads the text next may not.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError("the text is not UTF-8", "", 0) from error
    return json.loads(text)
