"""The arguments of `shop compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.compare import command


def compare(
    experiments: Annotated[
        list[str] | None, typer.Argument(metavar="[E1..E9|all]", help="Experiments to run [default: all].")
    ] = None,
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few calls and rounds: to see it work, not to quote it.")
    ] = False,
    make_it_lie: Annotated[
        bool, typer.Option("--make-it-lie", help="Repeat four public mistakes, each beside the correct measurement.")
    ] = False,
    bare: Annotated[bool, typer.Option("--bare", help="Leave the shop out: protocols only.")] = False,
    out: Annotated[Path | None, typer.Option(help="A new folder for samples, tables and pictures.")] = None,
    draw: Annotated[Path | None, typer.Option(help="Draw this run's tables and pictures again (into --out).")] = None,
) -> None:
    """Measure what each protocol costs for the same answer, and keep samples, tables and pictures in a folder.

    Starts servers, clients and a shop on ports of their own, and stops them. Needs the development environment
    ("make setup-dev"). docs/comparison.md explains each experiment.

    Exit code 0: measured. 1: an experiment could not be carried out; it prints which and why. 2: unknown experiment, a
    folder that is not empty, or a package is missing.
    """
    raise typer.Exit(
        command.compare(experiments or [], quick=quick, lie=make_it_lie, bare=bare, folder=out, draw_only=draw)
    )
