"""`python -m tools.openapi_check`: checks that `docs/openapi.json` matches the code and breaks no client.

The committed document is the contract. It is compared with the document before it: that of the last commit while it
is being changed, that of the commit before once it is committed. `--write` brings the file up to date.

A change that breaks clients is refused: what needs another shape gets another path (`/v2`), and `/v1` stays for its
clients. Where it breaks no client in truth (the document said less than the code did), the line that the check prints
goes into `docs/openapi-accepted.txt`, for a reviewer to see.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from gateway.app import create_api
from tools.committed import ROOT, check_or_write
from tools.openapi_changes import breaking_changes

DOCUMENT = ROOT / "docs" / "openapi.json"


def current() -> dict[str, Any]:
    """The document as the code has it."""
    return create_api().openapi()


def main(arguments: Sequence[str] | None = None) -> int:
    """Check or write; returns the exit code."""
    return check_or_write("tools.openapi_check", __doc__, DOCUMENT, current(), breaking_changes, arguments)


if __name__ == "__main__":
    sys.exit(main())
