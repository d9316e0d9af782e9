"""`docs/promises.md`: what the shop promises, and how each promise is broken on purpose."""

from __future__ import annotations

import json
import sys

from shop.fault.scenarios.promises import PROMISES, meaning
from shop.fault.scenarios.scenario import suite
from tests.faults.mutation import RESULTS, ROOT, mutants

DOCUMENT = ROOT / "docs" / "promises.md"
_SHOWN = 3
_HEAD = """# Promises, and what breaks them

Each promise is tried by scenarios of the [fault lab](faults.md) (`make faults`), in which it has to hold. And each has
at least one mutant: a patch of at most ten lines with which the same check has to fail, or it would prove nothing
(`make faults ARGS=mutants`, nightly). This page is made by `python -m tests.faults.promises_page`.

| promise | it holds when | tried by | mutant: what is broken | last result |
|---|---|---|---|---|
"""


def text() -> str:
    """The page."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known, scenarios = mutants(), suite()
    rows = []
    for name in PROMISES:
        tried = [each.name for each in scenarios.values() if name in each.promises]
        more = f" and {len(tried) - _SHOWN} more" if len(tried) > _SHOWN else ""
        where = f"{', '.join(f'`{each}`' for each in tried[:_SHOWN])}{more}"
        for mutant in (each for each in known.values() if name in each.red):
            link = f"[`{mutant.name}`](../tests/faults/mutants/{mutant.name}.patch): {mutant.says}"
            rows.append(f"| `{name}` | {meaning(name)} | {where} | {link} | {_told(results.get(mutant.name))} |\n")
    return _HEAD + "".join(rows)


def _told(result: dict[str, object] | None) -> str:
    if result is None:
        return "not run yet"
    return f"{'caught' if result['caught'] else '**not caught**'}, {result['day']}"


def write() -> None:
    """Bring the file up to date."""
    DOCUMENT.write_text(text())


if __name__ == "__main__":
    write()
    sys.stdout.write(f"{DOCUMENT.relative_to(ROOT)} written\n")
