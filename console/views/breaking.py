"""The Break view's side of `shop fault`: what can be broken, one scenario at a time, and its verdict.

Run as the operator's command that it is, on the machine of the shop: the console itself can break nothing.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis.errors import Kind, ShopError, invalid
from console.json_response import json_response
from console.views.development import allowed, check_json
from console.views.shop_command import shop_command

_COMMAND = (sys.executable, "-m", "shop", "fault")
_LIST_TIMEOUT = 30.0
_RUN_TIMEOUT = 400.0
# Within which a command that took too long undoes what it has broken.
_UNDO_TIMEOUT = 30.0
_MAX_CHARACTERS = 200
_MAX_SECONDS = 30.0
_MAX_BODY = 4_096
_REFUSAL = "faults are for development only"
_NO_LAB = "This shop cannot be broken from here: start one with `shop up --lab`."
# Of the console's own environment: which shop it is, and not the links that lead from the console.
_KEPT = ("SHOP_DATA_DIR", "SHOP_ENV")


class Breaking:
    """One scenario at a time; the last verdict is kept."""

    def __init__(self, settings: Mapping[str, str], command: tuple[str, ...] = _COMMAND) -> None:
        """`settings` are those of the shop to break; `command` is `shop fault`."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_") or name in _KEPT}
        self._env = {**own, **settings, "SHOP_OTLP_URL": ""}
        self._command = command
        self._listing = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None
        self._do, self._result, self._error = "", None, ""

    async def state(self) -> dict[str, Any]:
        """The faults that can be started, or `why` none can; the one that runs, and the last verdict."""
        async with self._listing:
            out, reason, code = await self._run("list", "--json", timeout=_LIST_TIMEOUT)
        if code:
            return {"why": reason or "no faults can be listed", **self.progress()}
        listed: dict[str, Any] = orjson.loads(out)
        return {
            "why": "" if listed["links"] else _NO_LAB,
            "faults": listed["faults"],
            "links": listed["links"],
            "processes": listed["processes"],
            "at_work": listed["at_work"],
            **self.progress(),
        }

    def progress(self) -> dict[str, Any]:
        """The fault that runs now (empty for none), and the last verdict, or why there is none."""
        running = self._running is not None and not self._running.done()
        return {"running": self._do if running else "", "result": self._result, "error": self._error}

    def start(self, do: str, seconds: float) -> None:
        """Run a load with this fault beside it. Raises OVERLOADED while another one runs."""
        if self._running is not None and not self._running.done():
            raise ShopError("OVERLOADED", "another fault is at work already", Kind.UNAVAILABLE, retry_after=2.0)
        self._do, self._result, self._error = do, None, ""
        self._running = asyncio.create_task(self._break(do, seconds))

    async def end(self) -> None:
        """Begin to end what is being broken; the command undoes it."""
        # Once: a second cancellation would kill the command while it undoes.
        if self._running is not None and not self._running.cancelling():
            self._running.cancel()

    async def close(self) -> None:
        """End what is being broken, and wait until it has ended."""
        await self.end()
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)

    async def _break(self, do: str, seconds: float) -> None:
        scenario = {
            "sentence": f"{do}, while customers order.",
            "load": {"orders_per_s": 4, "reads_per_s": 4, "for_s": seconds + 4},
            "recover_within_s": 45,
            "faults": [{"at_s": 2, "for_s": seconds, "do": do}],
        }
        with TemporaryDirectory(prefix="shop-break-") as folder:
            file = Path(folder) / "break.json"
            file.write_bytes(orjson.dumps(scenario))
            try:
                out, reason, _ = await self._run("run", str(file), "--json", "--no-shrink", timeout=_RUN_TIMEOUT)
            except ShopError as error:
                self._error = error.message
                return
            except OSError as error:
                self._error = f"`shop fault` cannot be started: {error}"
                return
        try:
            self._result = orjson.loads(out)
        except orjson.JSONDecodeError:
            self._error = reason or "the fault's process ended without a verdict"

    async def _run(self, *arguments: str, timeout: float) -> tuple[bytes, str, int]:
        command = (*self._command, *arguments)
        return await shop_command(command, self._env, timeout, "`shop fault` took too long", grace=_UNDO_TIMEOUT)


def break_routes(breaking: Breaking | None) -> list[Route]:
    """`/api/break`; refused where nothing may be broken (`breaking` is None), as in production."""

    async def show(request: Request) -> Response:
        found = allowed(breaking, _REFUSAL)
        return json_response(
            found.progress() if request.query_params.get("part") == "progress" else await found.state()
        )

    async def start(request: Request) -> Response:
        check_json(request)
        do, seconds = _wanted(await request.body() if _short(request) else b"")
        allowed(breaking, _REFUSAL).start(do, seconds)
        return json_response({"running": do}, 202)

    return [Route("/api/break", show), Route("/api/break", start, methods=["POST"])]


def _short(request: Request) -> bool:
    length = request.headers.get("content-length", "")
    return length.isdigit() and int(length) <= _MAX_BODY


def _wanted(body: bytes) -> tuple[str, float]:
    """The fault's words and its seconds. Raises INVALID_INPUT."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid("the body must be JSON, of at most 4 KiB") from error
    do, seconds = (content.get("do"), content.get("seconds", 4)) if isinstance(content, dict) else (None, 4)
    if not (isinstance(do, str) and 0 < len(do) <= _MAX_CHARACTERS and do.isprintable()):
        raise invalid("invalid fault", do=f"must be a fault of at most {_MAX_CHARACTERS} printable characters")
    if isinstance(seconds, bool) or not (isinstance(seconds, int | float) and 0 < seconds <= _MAX_SECONDS):
        raise invalid("invalid fault", seconds=f"must be a number up to {_MAX_SECONDS:g}")
    return do, float(seconds)
