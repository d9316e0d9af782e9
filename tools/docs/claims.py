"""`python -m tools.docs.claims`: checks that `docs/claims.md` agrees with `docs/claims.toml`; `--write` writes it."""

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
protocol, and how to see it in this shop. Made from `claims.toml` by `python -m tools.docs.claims --write`.

Start a shop whose connections can be broken, and leave it running; `make setup` comes before the first time:

```sh
.venv/bin/shop up --lab
```

In a second terminal, in this directory, `source .venv/bin/activate`; then each command below works as it is written, in
any order and as often as you like. `--while COMMAND` runs a command as long as a fault is at work, or a second copy of
a process. Each command is run by `tests/docs/test_claims.py` (two that take long by a test of their own), each test by
`make test` or `make test-long`.
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """`command` prints what matches `see`, which is `shows` in words; without one, `missing` is the reason.

    `tests` hold the claim, each as `path::function`. `run_by` is the test that runs the command, where it is not that
    of this page.
    """

    topic: str
    says: str
    tests: tuple[str, ...]
    command: str
    see: str
    shows: str
    missing: str
    run_by: str


def claims() -> list[Claim]:
    """All claims, in order."""
    topic, found = "", []
    for each in tomllib.loads(SOURCE.read_text())["claim"]:
        topic = each.get("topic", topic)
        texts = (each.get(name, "") for name in ("command", "see", "shows", "missing", "run_by"))
        found.append(Claim(topic, each["says"], tuple(each["tests"]), *texts))
    return found


def text() -> str:
    """The document."""
    parts, topic = [_HEAD], ""
    for number, claim in enumerate(claims(), start=1):
        if claim.topic != topic:
            topic = claim.topic
            parts.append(f"\n## {topic}\n")
        parts.append(f"\n{number}. **{claim.says}**")
        parts.append(f" · {'test' if len(claim.tests) == 1 else 'tests'}: {', '.join(map(_link, claim.tests))}\n")
        if claim.command:
            parts.append(f"\n   ```sh\n   {claim.command}\n   ```\n")
            parts.append(f"\n   See: {claim.shows}.\n")
        else:
            parts.append(f"\n   Not for this shop: {claim.missing}\n")
    seen = sum(bool(claim.command) for claim in claims())
    parts.append(f"\n{seen} of {len(claims())} by a command.\n")
    return "".join(parts)


def _link(test: str) -> str:
    """A link to the file; the name is the test's own."""
    path, _, name = test.partition("::")
    return f"[`{name}`](../{path})"


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
