"""Frames that crossed a hop's links, from the tap of the lab (`shop up --lab`): HTTP on the link proxy's own socket."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis.errors import Kind, ShopError, not_found
from console.decoders.link_frames import Leg, chosen, frame_json, legs
from console.domain import NS_PER_S, Trace
from console.hops import Hop, hops
from console.json_response import json_response
from console.store import TraceStore
from console.views.development import allowed, check_json

# Seconds; connections that are to be read from their first byte are ended first, each in a pause.
_TIMEOUT = 20.0
# Seconds for which links are watched from the page: the tap's own limit.
WATCHED_FOR = 600
_REFUSAL = "links are read in development only"
_NO_LAB = "These bytes never crossed a link that can be read: start the shop with `shop up --lab`."
_NO_LINK = "No link of the lab lies between the two: an embedded broker and SQLite are files."


class LinkTap:
    """The tap of one lab."""

    def __init__(self, socket: str) -> None:
        """`socket` is the link proxy's; empty without a lab."""
        self._socket = socket

    async def watch(self) -> None:
        """Watch every link from now on. Raises NOT_FOUND without a lab, UPSTREAM_UNAVAILABLE where it is away."""
        await self._call("PUT", f"/taps?seconds={WATCHED_FOR}")

    async def frames(self, trace: Trace, hop: Hop) -> dict[str, Any]:
        """The frames of the hop's links, in order; `why` there are none, and whether the links are watched."""
        if not self._socket:
            return _nothing(_NO_LAB)
        found = legs(hop, (await self._call("GET", "/links"))["links"])
        if not found:
            return _nothing(_NO_LINK)
        shown: list[dict[str, Any]] = []
        watching, matched = True, "trace"
        for leg in found:
            tapped = await self._call("GET", f"/taps/{quote(leg.link, safe='')}")
            watching = watching and tapped["watching"]
            by, frames = _of(tapped["frames"], leg, trace, hop)
            # What was found by time alone is a guess, and one makes the whole a guess.
            matched = by if frames and by == "time" else matched
            shown += frames
        shown.sort(key=lambda each: each["offset_ms"])
        links = [leg.link for leg in found]
        return {"lab": True, "why": "", "links": links, "watching": watching, "matched": matched, "frames": shown}

    async def _call(self, method: str, path: str) -> dict[str, Any]:
        if not self._socket:
            raise ShopError("NOT_FOUND", _NO_LAB, Kind.NOT_FOUND)
        transport = httpx.AsyncHTTPTransport(uds=self._socket)
        try:
            async with httpx.AsyncClient(base_url="http://links", transport=transport, timeout=_TIMEOUT) as http:
                answer = await http.request(method, path)
                answer.raise_for_status()
        except httpx.HTTPError as error:
            text = f"the link proxy does not answer: {error or type(error).__name__}"
            raise ShopError("UPSTREAM_UNAVAILABLE", text, Kind.UNAVAILABLE, retry_after=2.0) from error
        content: dict[str, Any] = orjson.loads(answer.content)
        return content


def tap_routes(store: TraceStore, tap: LinkTap | None) -> list[Route]:
    """`/api/traces/{id}/link` and `/api/links/watch`; refused in production (`tap` is None)."""

    async def show(request: Request) -> Response:
        reading, trace_id = allowed(tap, _REFUSAL), request.path_params["trace_id"].lower()
        trace = store.get(trace_id)
        if trace is None:
            raise not_found("trace", trace_id)
        wanted = request.query_params.get("hop", "")
        hop = next((each for each in hops(trace.spans.values()) if each.id == wanted), None)
        if hop is None:
            raise not_found("hop", wanted)
        return json_response(await reading.frames(trace, hop))

    async def watch(request: Request) -> Response:
        check_json(request)
        await allowed(tap, _REFUSAL).watch()
        return json_response({"seconds": WATCHED_FOR})

    return [Route("/api/traces/{trace_id}/link", show), Route("/api/links/watch", watch, methods=["POST"])]


def _of(frames: list[dict[str, Any]], leg: Leg, trace: Trace, hop: Hop) -> tuple[str, list[dict[str, Any]]]:
    began = trace.started_ns / NS_PER_S
    ours = [each for each in frames if leg.way in ("", each["direction"])]
    by, found = chosen(ours, hop, trace.trace_id, began)
    return by, [frame_json(each, leg.link, hop, began) for each in found]


def _nothing(why: str) -> dict[str, Any]:
    return {"lab": why is not _NO_LAB, "why": why, "links": [], "watching": False, "matched": "", "frames": []}
