"""Parameters of `shop call`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer


def call(
    service: Annotated[str, typer.Argument(help="The process, or its service's full name.")],
    method: Annotated[str, typer.Argument(help="The method; without one, all are listed.")] = "",
    fields: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FIELD=VALUE]…", help='"+" begins a stream\'s next message; "-" reads JSON lines.'),
    ] = None,
    *,
    caller: Annotated[
        str, typer.Option("--as", metavar="WHO", help="An account or a process [default: the first that is admitted].")
    ] = "",
    count: Annotated[int, typer.Option(min=0, metavar="N", help="Stop after N answers; 0: all.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Call a gRPC method of a running service, which describes itself (reflection).

    A field may be dotted (header.name=a) or JSON (items='[{"product_id": "42", "quantity": 1}]'); a repeated one is
    given several times; bytes are text or @FILE. A stream goes on until Ctrl-C.

    Exit code 0: answered. 1: the service answered with an error. 2: no such service, method or field, or no shop.
    """
    from shop.rpc import calling

    if not method:
        typer.echo("\n".join(calling.listed(service, os.environ)))
        return
    given = list(fields or ())
    lines = sys.stdin if "-" in given else ()
    given = [each for each in given if each != "-"]
    try:
        for message in calling.call(service, method, given, lines, os.environ, caller=caller, limit=count):
            typer.echo(calling.printed(message, compact=json))
    except calling.CallFailed as failure:
        typer.echo(f"shop: {failure}", err=True)
        raise typer.Exit(1) from failure
