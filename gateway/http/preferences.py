"""The `Prefer` header (RFC 7240): how long a client is willing to wait for an answer."""

from __future__ import annotations

from collections.abc import Iterable

from chassis.http.header_fields import elements

# Seconds that a request waits at most, whatever it prefers.
MAX_WAIT = 30


def wait_preferred(prefer: Iterable[str]) -> int:
    """Seconds of the first `wait` preference (section 4.3) in the lines of the field, at most `MAX_WAIT`.

    0 where there is none, or one that is no number: a preference that is not understood is ignored (section 2).
    """
    for element in elements(", ".join(prefer)):
        name, _, value = element.partition(";")[0].partition("=")
        if name.strip(" \t").lower() == "wait":
            digits = value.strip(" \t").strip('"')
            if not (digits.isascii() and digits.isdecimal()):
                return 0
            # A number of many digits needs no arithmetic.
            return min(int(digits), MAX_WAIT) if len(digits) <= 9 else MAX_WAIT
    return 0
