"""`python -m tools.asyncapi_check`: checks that `docs/asyncapi.json` matches the contracts and breaks no client.

The committed document is the contract, and is compared with the one before it, as `tools.openapi_check` does it.
`--write` brings the file up to date. A change that breaks consumers, clients or partners is refused: what needs another
shape gets another event type, path or action. A document that said less than the code did is put right by a line in
`docs/asyncapi-accepted.txt`, for a reviewer to see.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from protos.asyncapi.document import document
from tools.asyncapi_changes import breaking_changes
from tools.committed import ROOT, check_or_write

DOCUMENT = ROOT / "docs" / "asyncapi.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check or write; returns the exit code."""
    return check_or_write("tools.asyncapi_check", __doc__, DOCUMENT, document(), breaking_changes, arguments)


if __name__ == "__main__":
    sys.exit(main())
