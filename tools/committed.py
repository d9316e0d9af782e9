"""Documents that clients rely on: up to date with the code, and compared with the one before for breaking changes."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def document_before(document: Path, committed: str) -> dict[str, Any] | None:
    """The JSON document before this one; None where git has none (a first commit, a tree without history)."""
    name = document.relative_to(ROOT).as_posix()
    for commit in ("HEAD", "HEAD~"):
        shown = subprocess.run(  # noqa: S603  # nosec B603 B607 # our own arguments; git is found as for its user
            ["git", "-C", str(ROOT), "show", f"{commit}:{name}"],  # noqa: S607  # nosec B603 B607 # as above
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


Document = dict[str, Any]
Changes = Callable[[Document, Document], list[str]]


def refused(changes: Changes, old: Document | None, new: Document, accepted: str) -> list[str]:
    """The breaking changes that are not among the accepted ones, a line each."""
    known = {line.strip() for line in accepted.splitlines()}
    return [change for change in changes(old, new) if change not in known] if old else []


def check_or_write(
    module: str, about: str | None, path: Path, current: Document, changes: Changes, arguments: Sequence[str] | None
) -> int:
    """The command of a document: returns the exit code.

    `module` and `about` are for its help; accepted changes stand beside the document, in `…-accepted.txt`.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    name = path.relative_to(ROOT).as_posix()
    parser.add_argument("--write", action="store_true", help=f"bring {name} up to date")
    wanted = parser.parse_args(arguments)
    text = json.dumps(current, indent=2, ensure_ascii=False) + "\n"
    if wanted.write:
        path.write_text(text)
    committed = path.read_text() if path.exists() else ""
    if text != committed:
        sys.stderr.write(f"{name} does not match the code: run python -m {module} --write\n")
        return 1
    accepted = path.with_name(f"{path.stem}-accepted.txt").read_text()
    broken = refused(changes, document_before(path, committed), json.loads(text), accepted)
    for change in broken:
        sys.stderr.write(f"{change}\n")
    if broken:
        sys.stderr.write(f"These break clients; python -m {module} --help explains how to proceed.\n")
    return 1 if broken else 0
