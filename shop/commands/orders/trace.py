"""`shop trace`: one order's hops in the terminal, as they happen."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, TextIO
from urllib.parse import quote

import httpx

from shop.errors import Refused
from shop.gateway_client import object_of, problem
from shop.urls import url_of

# Seconds without data from the console; it sends a sign of life every 15.
_TIMEOUT = 40.0
# Seconds without news of a trace after which its hops under way have no end, as where their process was killed. A
# message that a consumer has delayed comes again within 132 s.
_NEWS_TIMEOUT = 150.0
_WIDTH = 80
FLYING = "flying"

_KEEP_ALIVE = "keep-alive"

Hop = dict[str, Any]


def trace(order: str, env: Mapping[str, str], out: TextIO) -> bool:
    """Print the hops of an order (or of a trace, by its id) until it has settled; whether all went well.

    Raises `Refused` where the console does not answer, or does not know it any more.
    """
    url = url_of("console", env)
    with httpx.Client(base_url=url, timeout=_TIMEOUT, trust_env=False) as console:
        try:
            trace_id = _trace_of(console, order)
            out.write(f"{'at':>9}  {'protocol':<9} from -> to: what, how long\n")
            hops = []
            for hop in finished(console, trace_id, news_timeout=_NEWS_TIMEOUT):
                hops.append(hop)
                _show(hop, out)
        except httpx.TransportError as error:
            raise Refused(f"the console at {url} does not answer ({error}); is the shop up?") from error
    states = Counter(hop["state"] for hop in hops)
    failed, endless = states["failed"], states[FLYING]
    if endless:
        out.write(f"{without_end(endless)}: there was no news of the trace for {_NEWS_TIMEOUT:.0f} s.\n")
    if failed:
        out.write(f"{failed} hops failed.\n")
    if not failed and not endless:
        out.write("Every hop went well.\n")
    return not failed and not endless


def without_end(count: int) -> str:
    """The number of hops without a reported end, as a sentence without its full stop."""
    return "1 hop has no end" if count == 1 else f"{count} hops have no end"


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


def finished(console: httpx.Client, trace_id: str, *, news_timeout: float) -> Iterator[Hop]:
    """Each hop once, when it has ended.

    After `news_timeout` seconds without news come those that have none, in the state flying. Raises `Refused` where the
    console has no room for the trace any more, or ends its stream.
    """
    under_way: dict[str, Hop] = {}
    shown: set[str] = set()
    news_at = time.monotonic()
    for name, content in _events(console, trace_id):
        if name == _KEEP_ALIVE:
            if time.monotonic() - news_at < news_timeout:
                continue
            yield from (hop for hop in under_way.values() if hop["state"] == FLYING and hop["span_id"] not in shown)
            return
        news_at = time.monotonic()
        if name == "settled":
            return
        if name == "evicted":
            raise Refused(f"the console no longer has the trace {trace_id}: it keeps the newest ones")
        if name == "gone":
            under_way.pop(content["id"], None)
            continue
        hop = {**under_way.get(content["id"], {}), **content}
        under_way[content["id"]] = hop
        # A hop is named anew when its other side comes in: by the side that began it.
        if hop["state"] != FLYING and hop["span_id"] not in shown:
            shown.add(hop["span_id"])
            yield hop
    raise Refused(f"the console ended the stream of the trace {trace_id} before it had settled")


def _events(console: httpx.Client, trace_id: str) -> Iterator[tuple[str, Hop]]:
    """The server-sent events; a comment, by which the console keeps the stream alive, is one, too."""
    with console.stream("GET", f"/api/traces/{trace_id}/events") as response:
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            response.read()
            object_of(response)
            raise problem(response)
        name = ""
        for line in response.iter_lines():
            if line.startswith(":"):
                yield _KEEP_ALIVE, {}
            elif line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))


def _show(hop: Hop, out: TextIO) -> None:
    failed = hop["state"] == "failed"
    took = "no end" if hop["state"] == FLYING else f"{hop['duration_ms']:.1f} ms"
    wait = "" if hop["waiting_ms"] is None else f", waited {hop['waiting_ms']:.0f} ms"
    note = f", {hop['note'].replace('_', ' ')}" if hop["note"] else ""
    outcome = f" FAILED: {hop['error'] or 'refused'}" if failed else ""
    line = (
        f"{hop['offset_ms']:>6.0f} ms  {hop['protocol']:<9} {hop['from']} -> {hop['to']}: "
        f"{hop['operation'].rpartition('/')[2]}, {took}{wait}{note}{outcome}"
    )
    out.write(f"{line[: _WIDTH - 1]}…\n" if len(line) > _WIDTH and not failed else f"{line}\n")
