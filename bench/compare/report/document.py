"""Keeps runs beside docs/comparison.md and fills its blocks: `python -m bench.compare.report.document [RUN…]`.

What is kept: environment, rows and pictures; samples and distributions stay in the run's folder. Of several runs that
measured the same experiment the last one counts; the machine is described as it was for the first. Without a RUN the
document is filled from what is kept. The console's page gets what it shows from the same rows.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.compare.measure.folder import ENVIRONMENT, RESULTS, Row, rows
from bench.compare.report.draw import blocks, filled, pictures
from bench.compare.report.questions import questions
from bench.compare.report.sections.e5 import news

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "comparison.md"
PAGE = ROOT / "console" / "page" / "measured.json"
KEPT = ROOT / "docs" / "comparison"


def keep(runs: Sequence[Path]) -> None:
    """Put the runs' environment and rows where the document finds them."""
    KEPT.mkdir(exist_ok=True)
    environments = [json.loads((run / ENVIRONMENT).read_text()) for run in runs]
    by_experiment: dict[str, list[Row]] = {}
    for run in runs:
        found = rows(run)
        for name in dict.fromkeys(row["experiment"] for row in found):
            by_experiment[name] = [row for row in found if row["experiment"] == name]
    ordered = sorted(by_experiment)
    commands = "; ".join(each["command"] for each in environments)
    environment = environments[0] | {"command": commands, "experiments": ordered, "complete": ordered}
    (KEPT / ENVIRONMENT).write_text(json.dumps(environment, indent=2) + "\n")
    lines = [json.dumps(row) + "\n" for name in ordered for row in by_experiment[name]]
    (KEPT / RESULTS).write_text("".join(lines))


def written() -> dict[Path, str]:
    """Every file that is made of the kept run, with its content."""
    made = {KEPT / name: svg for name, svg in pictures(rows(KEPT)).items()}
    text = filled(DOCUMENT.read_text(), blocks(KEPT))
    page = {"questions": questions(rows(KEPT)), "news": news(rows(KEPT)), "words": words(text)}
    return {**made, DOCUMENT: text, PAGE: json.dumps(page, indent=1, ensure_ascii=False) + "\n"}


def words(text: str) -> list[dict[str, str]]:
    """The document's last table for the console's page: the articles' words, our cells, and the verdict.

    Raises `ValueError` for a row without a verdict.
    """
    found = []
    for line in text.partition("## The articles' words")[2].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3 and cells[0] not in ("the articles say", "---"):
            verdict = re.search(r"\*\*(supported|qualified|contradicted)\*\*", cells[2])
            if verdict is None:
                raise ValueError(f"no verdict in: {line}")
            said, ours, so = (re.sub(r"[*`]", "", cell) for cell in cells)
            found.append({"said": said, "ours": ours, "so": so, "verdict": verdict[1]})
    return found


def main() -> None:
    if sys.argv[1:]:
        keep([Path(each) for each in sys.argv[1:]])
    for path, text in written().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
