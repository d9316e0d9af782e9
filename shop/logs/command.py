"""`shop logs`: the log lines of one order or trace, from all processes, in causal order."""

from __future__ import annotations

import json as jsonlib
import os
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TextIO
from urllib.parse import quote

import httpx
import typer

from shop.errors import Refused
from shop.gateway_client import object_of, problem
from shop.urls import url_of

_TIMEOUT = 10.0
_EVERY = 0.5
_RESERVED = frozenset({"trace_id"})

Line = dict[str, Any]


def logs(
    order: Annotated[str, typer.Argument(metavar="[ORDER]", help="The order whose lines are printed.")] = "",
    *,
    same_order: Annotated[str, typer.Option("--order", metavar="ID", help="The same, as an option.")] = "",
    trace: Annotated[str, typer.Option(metavar="ID", help="The trace whose lines are printed.")] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Follow new lines, until Ctrl-C.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print each line as JSON.")] = False,
) -> None:
    """Print the log lines of one order from all processes, in causal order: each effect after its cause.

    The console keeps them in development, for the newest traces of this run of the shop.
    Exit code 0: printed (maybe none). 2: not exactly one order or trace is given, the console does not answer, or has
    no trace of the order.
    """
    if len([each for each in (order, same_order, trace) if each]) != 1:
        raise Refused("give an order or --trace ID")
    order = order or same_order
    path = f"/api/orders/{quote(order, safe='')}/logs" if order else f"/api/traces/{quote(trace, safe='')}/logs"
    out = typer.get_text_stream("stdout")
    any_line = False
    try:
        for line in lines(path, os.environ, follow=follow):
            any_line = True
            show(line, out, json=json)
        if not any_line:
            typer.echo("no log lines of it are kept; SHOP_LOG_LEVEL is the lowest level that is written", err=True)
    except KeyboardInterrupt:
        return


def lines(path: str, env: Mapping[str, str], *, follow: bool) -> Iterator[Line]:
    """Lines in causal order; with `follow` without end, each batch of new ones in its own order. Raises `Refused`."""
    url = url_of("console", env)
    shown: set[int] = set()
    with httpx.Client(base_url=url, timeout=_TIMEOUT, trust_env=False) as console:
        while True:
            for line in _lines(console, path, url):
                if line["number"] not in shown:
                    shown.add(line["number"])
                    yield line
            if not follow:
                return
            time.sleep(_EVERY)


def _lines(console: httpx.Client, path: str, url: str) -> list[Line]:
    try:
        answer = console.get(path)
    except httpx.TransportError as error:
        raise Refused(f"the console at {url} does not answer ({error}); is the shop up?") from error
    if answer.status_code == httpx.codes.NOT_FOUND:
        detail = object_of(answer, "detail")["detail"]
        raise Refused(f"{detail}: the console keeps the newest ones, of this run of the shop")
    if not answer.is_success:
        raise problem(answer)
    found: list[Line] = object_of(answer, "items")["items"]
    return found


def show(line: Line, out: TextIO, *, json: bool) -> None:
    """One line, as the processes' own text format has it."""
    if json:
        out.write(jsonlib.dumps(line) + "\n")
    else:
        facts = "".join(f" {name}={value}" for name, value in line["attributes"].items() if name not in _RESERVED)
        clock = line["time"][11:23]
        out.write(f"{clock} {line['level'].upper():<7} {line['service']:<16} {line['message']}{facts}\n")
    out.flush()
