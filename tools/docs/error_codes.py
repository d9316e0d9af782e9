"""`python -m tools.docs.error_codes`: checks that `docs/errors.md` agrees with the catalogue; `--write` writes it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from chassis.webpages.error_codes import error_codes
from tools.committed import ROOT

DOCUMENT = ROOT / "docs" / "errors.md"
_HEAD = """# Error codes

Made from `chassis/webpages/error_codes.toml` by `python -m tools.docs.error_codes --write`; a test compares the
catalogue with the code.

Every error has a stable `code`. REST answers `application/problem+json` (RFC 9457), whose `type` is
`https://shop.test/problems/` and the code in lower case with dashes. That is an identifier, not an address; in
development the gateway explains each one at the same path: <http://localhost:8000/problems/out-of-stock>. GraphQL has
the code in `extensions.code`, gRPC in `google.rpc.ErrorInfo`, a WebSocket in its error frame or as the reason of its
close. `400 or 200`: GraphQL answers 400 to a client that accepts `application/graphql-response+json`, and 200 to any
other (GraphQL over HTTP, section 6.4).

| code | status | cause | what to do |
|---|---|---|---|
"""


def text() -> str:
    """The document."""
    rows = (f"| `{each.code}` | {each.status} | {each.cause} | {each.cure} |" for each in error_codes().values())
    return _HEAD + "\n".join(rows) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check or write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="bring docs/errors.md up to date")
    if parser.parse_args(arguments).write:
        DOCUMENT.write_text(text())
    if not DOCUMENT.exists() or DOCUMENT.read_text() != text():
        sys.stderr.write("docs/errors.md is not up to date: run python -m tools.docs.error_codes --write\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
