"""Range requests (RFC 9110, section 14)."""

from __future__ import annotations

import re

from chassis.errors import Kind, ShopError

_SINGLE = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*")


def wanted_bytes(range_header: str | None, size: int) -> tuple[int, int] | None:
    """The first byte and the count of a satisfiable range; None for the whole file.

    A range that is malformed, of another unit, or one of several may be ignored, and is. Raises RANGE_NOT_SATISFIABLE.
    """
    found = _SINGLE.fullmatch(range_header or "")
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        count = min(int(last), size)
        if not count:
            raise _not_satisfiable(size)
        return size - count, count
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        raise _not_satisfiable(size)
    end = min(int(last), size - 1) if last else size - 1
    return int(first), end - int(first) + 1


def _not_satisfiable(size: int) -> ShopError:
    message = f"range must include one of the file's {size} bytes"
    return ShopError("RANGE_NOT_SATISFIABLE", message, Kind.INVALID, size=str(size))
