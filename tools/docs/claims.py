"""`python -m tools.docs.claims`: checks that `docs/claims.md` is what `docs/claims.toml` says; `--write` writes it."""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass

from tools.committed import ROOT

SOURCE = ROOT / "docs" / "claims.toml"
DOCUMENT = ROOT / "docs" / "claims.md"
_HEAD = """# Claims

What two articles ("Communication Between Systems" and "Communication Protocols Between Services") claim of each
protocol, and how to see it in this shop. Made
from `claims.toml` by `python -m tools.docs.claims --write`. Start the shop with `make up`, and `source
.venv/bin/activate`; each command is run by `tests/docs/test_claims.py`, each test by `make test`. Where there is no
command, the test shows it; a note says what this shop does not show, or how to see it by hand.
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """`command` prints something that matches `see`; `missing` is what is not to be seen, or only by hand."""

    topic: str
    says: str
    command: str
    see: str
    test: str
    missing: str


def claims() -> list[Claim]:
    """All claims, in order."""
    topic, found = "", []
    for each in tomllib.loads(SOURCE.read_text())["claim"]:
        topic = each.get("topic", topic)
        texts = (each.get(name, "") for name in ("command", "see", "test", "missing"))
        found.append(Claim(topic, each["says"], *texts))
    return found


def text() -> str:
    """The document."""
    parts, topic = [_HEAD], ""
    for number, claim in enumerate(claims(), start=1):
        if claim.topic != topic:
            topic = claim.topic
            parts.append(f"\n## {topic}\n")
        parts.append(f"\n{number}. **{claim.says}**")
        parts.append(f" · test: [`{claim.test}`](../{claim.test})\n")
        if claim.command:
            parts.append(f"\n   ```sh\n   {claim.command}\n   ```\n")
            if claim.see:
                parts.append(f"\n   It prints what matches `{claim.see}`.\n")
        if claim.missing:
            parts.append(f"\n   {claim.missing}\n")
    seen = sum(bool(claim.command) for claim in claims())
    parts.append(f"\n{seen} of {len(claims())} by a command, the others by their test.\n")
    return "".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check or write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="bring docs/claims.md up to date")
    if parser.parse_args(arguments).write:
        DOCUMENT.write_text(text())
    if not DOCUMENT.exists() or DOCUMENT.read_text() != text():
        sys.stderr.write("docs/claims.md is not up to date: run python -m tools.docs.claims --write\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
