"""Parameters of `shop doctor`."""

from __future__ import annotations

import json as jsonlib
import os
from dataclasses import asdict
from typing import Annotated

import typer


def doctor(*, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check this machine: ports and who holds them, Python, umask, open files, Docker, memory, clock, disk.

    Each finding has its remedy. Exit code 0: the shop can start here. 1: something is in its way.
    """
    from shop.commands.doctor.checks import examine

    findings = examine(os.environ)
    if json:
        typer.echo(jsonlib.dumps({"items": [asdict(each) for each in findings]}, indent=2))
    else:
        for each in findings:
            typer.echo(f"{'ok' if each.fine else 'BAD':<4} {each.what}")
            if each.fix:
                typer.echo(f"     fix: {each.fix}")
    raise typer.Exit(0 if all(each.fine for each in findings) else 1)
