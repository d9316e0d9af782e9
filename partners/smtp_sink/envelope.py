"""The recipients of a mail (SMTP's RCPT, RFC 5321, 3.3), kept before the mail itself as its file's first line.

What is written in a mail's own To is what its sender says there; where it goes is said by its envelope.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

_NAME = b"X-Envelope-To: "
_END = b"\r\n"


def sealed(content: bytes, recipients: Sequence[str]) -> bytes:
    """A mail as it is kept."""
    return b"".join((_NAME, json.dumps(list(recipients)).encode(), _END, content))


def opened(kept: bytes) -> tuple[tuple[str, ...], bytes]:
    """Its recipients, and the mail as it was received. There are none in a file of before they were kept."""
    line, end, content = kept.partition(_END)
    if not (line.startswith(_NAME) and end):
        return (), kept
    return tuple(json.loads(line.removeprefix(_NAME))), content
