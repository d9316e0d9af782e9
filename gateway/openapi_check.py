"""`python -m gateway.openapi_check`: whether `docs/openapi.json` is what the code says, and breaks nobody.

The committed document is the contract. It is compared with the document before it: that of the last commit while it
is being changed, that of the commit before once it is committed. `--write` brings the file up to date.

A change that breaks clients is refused: what needs another shape gets another path (`/v2`), and `/v1` stays for those
who use it. Where it breaks nobody in truth (the document said less than the code did), the line that the check prints
goes into `docs/openapi-accepted.txt`, for a reviewer to see.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.app import create_api
from gateway.openapi_changes import breaking_changes

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "openapi.json"
ACCEPTED = ROOT / "docs" / "openapi-accepted.txt"


def current() -> dict[str, Any]:
    """The document as the code has it."""
    return create_api().openapi()


def main(arguments: Sequence[str] | None = None) -> int:
    """Check or write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="bring docs/openapi.json up to date")
    wanted = parser.parse_args(arguments)
    text = json.dumps(current(), indent=2, ensure_ascii=False) + "\n"
    if wanted.write:
        DOCUMENT.write_text(text)
    committed = DOCUMENT.read_text() if DOCUMENT.exists() else ""
    if text != committed:
        sys.stderr.write(f"{_name()} is not what the code says: run python -m gateway.openapi_check --write\n")
        return 1
    broken = refused(_before(committed), json.loads(text), ACCEPTED.read_text())
    for change in broken:
        sys.stderr.write(f"{change}\n")
    if broken:
        sys.stderr.write("These break clients; python -m gateway.openapi_check --help says what can be done.\n")
    return 1 if broken else 0


def refused(old: dict[str, Any] | None, new: dict[str, Any], accepted: str) -> list[str]:
    """The breaking changes that are not among the accepted ones, a line each."""
    known = {line.strip() for line in accepted.splitlines()}
    return [change for change in breaking_changes(old, new) if change not in known] if old else []


def _before(committed: str) -> dict[str, Any] | None:
    """The document before this one; None where git knows none (a first commit, a tree without history)."""
    for commit in ("HEAD", "HEAD~"):
        shown = subprocess.run(  # noqa: S603  # nothing of it comes from outside
            ["git", "-C", str(ROOT), "show", f"{commit}:{_name()}"],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
        if shown.returncode != 0:
            return None
        if shown.stdout != committed:
            found: dict[str, Any] = json.loads(shown.stdout)
            return found
    return None


def _name() -> str:
    return DOCUMENT.relative_to(ROOT).as_posix()


if __name__ == "__main__":
    sys.exit(main())
