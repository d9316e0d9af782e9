"""`python -m tools.security_check`: bandit over the code, and pip-audit over what is installed with it.

A finding of bandit is mended, or has a comment with its number and a reason beside it. A dependency with a known
vulnerability fails the check. Where the registry does not answer, or does not have a dependency, the check says that it
was not audited: no answer is not a good answer, and not a bad one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tools.committed import ROOT

REQUIREMENTS = "requirements.txt"
_AUDIT_TIMEOUT = 180.0
# Bandit warns of each expression on a line whose comment is about another one there.
_NOISE = re.compile(r"WARNING\s+nosec encountered .* but no failed test")
_SHOWN_NAMES = 5
_UNREASONED = re.compile(r"[#] nosec(?! B\d{3}( B\d{3})* # \S)")


def main() -> int:
    """Run both; returns the exit code: 0 nothing found, 1 something."""
    code, summary = verdict(*_audit())
    sys.stdout.write(f"{summary}\n")
    return max(_bandit(), code)


def unreasoned(text: str) -> list[int]:
    """Numbers of the lines that silence bandit without the number of a check, or without a reason."""
    return [number for number, line in enumerate(text.splitlines(), 1) if _UNREASONED.search(line)]


def verdict(report: Mapping[str, Any] | None, error: str) -> tuple[int, str]:
    """Exit code and words for pip-audit's report; without one, `error` is the reason."""
    if report is None:
        return 0, f"NOT AUDITED: the dependencies of {REQUIREMENTS}: {error}"
    found: Sequence[Mapping[str, Any]] = report["dependencies"]
    vulnerable = [
        f"{each['name']} {each['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'none yet'}"
        for each in found
        for flaw in each.get("vulns", ())
    ]
    skipped = [str(each["name"]) for each in found if "skip_reason" in each]
    lines = [*vulnerable, f"{len(found) - len(skipped)} of {len(found)} dependencies audited"]
    if skipped:
        more = f" and {len(skipped) - _SHOWN_NAMES} more" if len(skipped) > _SHOWN_NAMES else ""
        lines.append(
            f"NOT AUDITED ({len(skipped)}), unknown to the registry: {', '.join(skipped[:_SHOWN_NAMES])}{more}"
        )
    return (1 if vulnerable or not found else 0), "\n".join(lines)


def _audit() -> tuple[dict[str, Any] | None, str]:
    """pip-audit's report, or None and why there is none."""
    command = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "-r", REQUIREMENTS]
    command += ["-f", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(  # noqa: S603  # nosec B603 # our own arguments
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_AUDIT_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return None, f"the registry did not answer within {_AUDIT_TIMEOUT:g} s"
    try:
        return json.loads(done.stdout), ""
    except ValueError:
        return None, (done.stderr.strip().splitlines() or [f"pip-audit ended with {done.returncode}"])[-1]


def _bandit() -> int:
    command = [sys.executable, "-m", "bandit", "-q", "-c", "pyproject.toml", "-r", "."]
    done = subprocess.run(  # noqa: S603  # nosec B603 # our own arguments
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    sys.stdout.write(done.stdout)
    sys.stderr.write("".join(line for line in done.stderr.splitlines(keepends=True) if not _NOISE.search(line)))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
