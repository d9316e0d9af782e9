"""`shop trace`: one order's hops in the terminal, as they come."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TextIO
from urllib.parse import quote

import httpx

from shop.errors import Refused
from shop.gateway_client import object_of, problem
from shop.urls import url_of

# Seconds without a word from the console; it says that it is still there every 15.
_TIMEOUT = 40.0
_WIDTH = 80

Hop = dict[str, Any]


def trace(order: str, env: Mapping[str, str], out: TextIO) -> bool:
    """Print the hops of an order (or of a trace, by its id) until it has settled; whether all went well.

    Raises `Refused` where the console does not answer or does not know it.
    """
    url = url_of("console", env)
    with httpx.Client(base_url=url, timeout=_TIMEOUT, trust_env=False) as console:
        try:
            trace_id = _trace_of(console, order)
            out.write(f"{'at':>9}  {'protocol':<9} from -> to: what, how long\n")
            failed = sum(_show(hop, out) for hop in finished(console, trace_id))
        except httpx.TransportError as error:
            raise Refused(f"the console at {url} does not answer ({error}); is the shop up?") from error
    out.write(f"{failed} hops failed.\n" if failed else "Every hop went well.\n")
    return not failed


def _trace_of(console: httpx.Client, order: str) -> str:
    named = quote(order, safe="")
    for path in (f"/api/orders/{named}/xray", f"/api/traces/{named}/hops"):
        response = console.get(path)
        if response.is_success:
            return str(object_of(response, "trace_id")["trace_id"])
        if response.status_code != httpx.codes.NOT_FOUND:
            raise problem(response)
        object_of(response)
    raise Refused(f"the console has no trace of {order!r}: it keeps the newest ones, of this run of the shop")


def finished(console: httpx.Client, trace_id: str) -> Iterator[Hop]:
    """Each hop once, when it has come to its end."""
    under_way: dict[str, Hop] = {}
    shown: set[str] = set()
    for name, content in _events(console, trace_id):
        if name in ("settled", "evicted"):
            return
        if name == "gone":
            under_way.pop(content["id"], None)
            continue
        hop = {**under_way.get(content["id"], {}), **content}
        under_way[content["id"]] = hop
        # A hop is named anew when its other side comes in: by the side that began it.
        if hop["state"] != "flying" and hop["span_id"] not in shown:
            shown.add(hop["span_id"])
            yield hop


def _events(console: httpx.Client, trace_id: str) -> Iterator[tuple[str, Hop]]:
    with console.stream("GET", f"/api/traces/{trace_id}/events") as response:
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            response.read()
            object_of(response)
            raise problem(response)
        name = ""
        for line in response.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))


def _show(hop: Hop, out: TextIO) -> bool:
    """Print a hop; whether it failed."""
    failed = bool(hop["state"] == "failed")
    took = f"{hop['duration_ms']:.1f} ms"
    wait = "" if hop["waiting_ms"] is None else f", waited {hop['waiting_ms']:.0f} ms"
    note = f", {hop['note'].replace('_', ' ')}" if hop["note"] else ""
    outcome = f" FAILED: {hop['error'] or 'refused'}" if failed else ""
    line = (
        f"{hop['offset_ms']:>6.0f} ms  {hop['protocol']:<9} {hop['from']} -> {hop['to']}: "
        f"{hop['operation'].rpartition('/')[2]}, {took}{wait}{note}{outcome}"
    )
    out.write(f"{line[: _WIDTH - 1]}…\n" if len(line) > _WIDTH and not failed else f"{line}\n")
    return failed
