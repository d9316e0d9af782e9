"""`shop audit` for readers without a terminal: run as the operator's command that it is, on the machine of the shop."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import orjson

from chassis.errors import Kind, ShopError
from console.views.shop_command import shop_command

_TIMEOUT = 60.0


class Audits:
    """One at a time: an audit reads every book of the shop."""

    def __init__(self, command: tuple[str, ...] = (sys.executable, "-m", "shop", "audit", "--json")) -> None:
        self._command = command
        self._running = asyncio.Lock()

    async def run(self) -> dict[str, Any]:
        """The audit's report, as `shop audit --json` prints it.

        Raises OVERLOADED while another one runs, UPSTREAM_UNAVAILABLE where the books cannot be read.
        """
        if self._running.locked():
            raise ShopError("OVERLOADED", "an audit is running already", Kind.UNAVAILABLE, retry_after=2.0)
        async with self._running:
            # Traces of the audit itself would be all that is seen of a shop that is audited often.
            env = {**os.environ, "SHOP_OTLP_URL": ""}
            out, reason, _ = await shop_command(self._command, env, _TIMEOUT, "the audit took too long")
        try:
            report: dict[str, Any] = orjson.loads(out)
        except orjson.JSONDecodeError as error:
            raise ShopError("UPSTREAM_UNAVAILABLE", reason or "the audit failed", Kind.UNAVAILABLE) from error
        return report
