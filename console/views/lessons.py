"""Lessons for those who work with the page: read and checked by the operator's command, `shop lesson`."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis.errors import Kind, ShopError
from console.json_response import json_response
from console.views.development import allowed, check_json
from console.views.shop_command import shop_command

_COMMAND = (sys.executable, "-m", "shop", "lesson")
_TIMEOUT = 20.0
_REFUSAL = "lessons are for development only"
_NUMBER = re.compile(r"[0-9]{1,4}")


class Lessons:
    """The lessons of the repository that this shop is run from, and how far the student is."""

    def __init__(self, settings: Mapping[str, str], command: tuple[str, ...] = _COMMAND) -> None:
        """`settings` are those of the console's shop; `command` is `shop lesson`."""
        self._env = {**os.environ, **settings, "SHOP_OTLP_URL": ""}
        self._command = command
        self._reading = asyncio.Lock()
        # From the look at whether a check is running to the start of one.
        self._starting = asyncio.Lock()
        # Lesson -> the check that was started from here; it may not have noted yet that it runs.
        self._checks: dict[int, asyncio.Task[int]] = {}

    async def all(self) -> dict[str, Any]:
        """Every lesson with its page and the student's state. Raises NOT_FOUND where there are none."""
        listing = (*self._command, "list", "--json")
        async with self._reading:
            out, reason, code = await shop_command(listing, self._env, _TIMEOUT, "the lessons took too long")
        if code:
            raise ShopError("NOT_FOUND", reason or "there are no lessons", Kind.NOT_FOUND)
        found: dict[str, Any] = orjson.loads(out)
        for each in found["items"]:
            started = self._checks.get(each["number"])
            each["checking"] = each["checking"] or (started is not None and not started.done())
        return found

    async def check(self, number: int) -> None:
        """Have a lesson checked. It is not waited for: where the shop is the lesson's own, it is restarted meanwhile.

        Raises NOT_FOUND for a lesson that was not started, OVERLOADED while it is being checked.
        """
        async with self._starting:
            await self._check(number)

    async def _check(self, number: int) -> None:
        lesson = next((each for each in (await self.all())["items"] if each["number"] == number), None)
        if lesson is None or not lesson["started"]:
            raise ShopError("NOT_FOUND", f"lesson {number} was not started: shop lesson start {number}", Kind.NOT_FOUND)
        if lesson["checking"]:
            raise ShopError("OVERLOADED", "a check is running already", Kind.UNAVAILABLE, retry_after=2.0)
        nothing = asyncio.subprocess.DEVNULL
        # In a session of its own, so that it outlives this process.
        child = await asyncio.create_subprocess_exec(
            *self._command, "check", str(number), env=self._env, stdout=nothing, stderr=nothing, start_new_session=True
        )
        self._checks[number] = asyncio.create_task(child.wait())


def lesson_routes(lessons: Lessons | None) -> list[Route]:
    """`/api/lessons`, and a check of each; refused where there are none (`lessons` is None), as in production."""

    async def listing(_: Request) -> Response:
        return json_response(await allowed(lessons, _REFUSAL).all())

    async def check(request: Request) -> Response:
        check_json(request)
        number = request.path_params["number"]
        if not _NUMBER.fullmatch(number):
            raise ShopError("NOT_FOUND", "there is no such lesson", Kind.NOT_FOUND)
        await allowed(lessons, _REFUSAL).check(int(number))
        return json_response({"checking": True}, 202)

    return [Route("/api/lessons", listing), Route("/api/lessons/{number}/check", check, methods=["POST"])]
