"""The link proxy's API for faults: HTTP on a Unix socket in the data directory, which only its owner may use.

GET    /links                   every link, with addresses, toxics and counts; `?within=SECONDS` for `recent`
POST   /faults                  {"links": [...], "toxics": [...], "seconds": 10, "id": ...} -> {"id": ..., "met": {...}}
GET    /faults  /faults/{id}    those at work; one, with what it has met
DELETE /faults/{id}             ends one
PUT    /taps  /taps/{link}      watches every link, or one; `?seconds=60`
POST   /taps/{link}             goes on watching it, with what was seen, for `?seconds=60` from now
GET    /taps/{link}             {"watching": true, "frames": [...]}; `?trace=ID` for one trace's
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from shop.fault.links.proxy import Fault, Proxy
from shop.fault.links.toxics import Toxic

_MAX_BODY = 64 * 1024
_PROXY: web.AppKey[Proxy] = web.AppKey("proxy", Proxy)


@asynccontextmanager
async def controlled(proxy: Proxy, path: Path) -> AsyncIterator[None]:
    """Answer on the socket while the block runs. Raises `OSError` where it cannot be made."""
    app = web.Application(client_max_size=_MAX_BODY, middlewares=[_problems])
    app[_PROXY] = proxy
    app.on_response_prepare.append(_without_server)
    app.add_routes(
        [
            web.get("/links", _links),
            web.get("/faults", _faults),
            web.post("/faults", _set),
            web.get("/faults/{id}", _fault),
            web.delete("/faults/{id}", _end),
            web.put("/taps", _watch_all),
            web.put("/taps/{link}", _watch),
            web.post("/taps/{link}", _watch_on),
            web.get("/taps/{link}", _seen),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.SockSite(runner, _own_socket(path)).start()
        yield
    finally:
        await runner.cleanup()


def _own_socket(path: Path) -> socket.socket:
    """A Unix socket for its owner alone, in place of one that a killed process has left."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    return listener


async def _without_server(_: web.Request, response: web.StreamResponse) -> None:
    """Name no library and no version."""
    response.headers.pop("Server", None)


@web.middleware
async def _problems(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)
        return answer
    except (ValueError, TypeError) as error:
        return web.json_response({"error": str(error)}, status=400)
    except KeyError as error:
        return web.json_response({"error": f"there is no {error.args[0]}"}, status=404)
    except OSError as error:  # a port that cannot be had yet: all else is done
        return web.json_response({"error": error.strerror or str(error)}, status=503)


async def _links(request: web.Request) -> web.Response:
    within = float(request.query.get("within", "1"))
    return web.json_response({"links": [link.snapshot(within) for link in request.app[_PROXY].links.values()]})


async def _faults(request: web.Request) -> web.Response:
    return web.json_response({"faults": [_as_dict(fault) for fault in request.app[_PROXY].faults]})


async def _set(request: web.Request) -> web.Response:
    try:
        content = await request.json()
    except json.JSONDecodeError as error:
        raise ValueError(f"the body is not JSON: {error}") from error
    if not isinstance(content, dict) or content.keys() - {"id"} != {"links", "toxics", "seconds"}:
        raise ValueError("fault must have links, toxics and seconds, and may have an id")
    toxics = [Toxic.from_dict(each) for each in content["toxics"]]
    links, seconds = list(map(str, content["links"])), float(content["seconds"])
    fault = request.app[_PROXY].set(links, toxics, seconds, str(content.get("id", "")))
    return web.json_response(_as_dict(request.app[_PROXY].get(fault.id)), status=201)


async def _fault(request: web.Request) -> web.Response:
    return web.json_response(_as_dict(request.app[_PROXY].get(request.match_info["id"])))


async def _end(request: web.Request) -> web.Response:
    return web.json_response(_as_dict(await request.app[_PROXY].end(request.match_info["id"])))


async def _watch(request: web.Request) -> web.Response:
    link = request.app[_PROXY].links[request.match_info["link"]]
    await link.watch(float(request.query.get("seconds", "60")))
    return web.json_response({"watching": link.spec.name})


async def _watch_on(request: web.Request) -> web.Response:
    link = request.app[_PROXY].links[request.match_info["link"]]
    link.watch_on(float(request.query.get("seconds", "60")))
    return web.json_response({"watching": link.spec.name})


async def _watch_all(request: web.Request) -> web.Response:
    links, seconds = request.app[_PROXY].links, float(request.query.get("seconds", "60"))
    await asyncio.gather(*(link.watch(seconds) for link in links.values()))
    return web.json_response({"watching": list(links)})


async def _seen(request: web.Request) -> web.Response:
    tap = request.app[_PROXY].links[request.match_info["link"]].tap
    frames = [] if tap is None else tap.seen(request.query.get("trace", ""))
    watching = tap is not None and tap.watching
    return web.json_response({"watching": watching, "frames": [each.as_dict() for each in frames]})


def _as_dict(fault: Fault) -> dict[str, Any]:
    return {
        "id": fault.id,
        "links": list(fault.links),
        "toxics": [toxic.as_dict() for toxic in fault.toxics],
        "ended": fault.ended,
        "met": dict(fault.met),
    }
