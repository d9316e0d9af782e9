"""`shop audit` for readers without a terminal: run as the operator's command that it is, on the machine of the shop."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import orjson

from chassis.errors import Kind, ShopError

_TIMEOUT = 60.0
_MAX_ERROR = 500


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
            child = await asyncio.create_subprocess_exec(
                *self._command, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            try:
                async with asyncio.timeout(_TIMEOUT):
                    out, err = await child.communicate()
            except TimeoutError as error:
                raise ShopError("DEADLINE_EXCEEDED", "the audit took too long", Kind.TIMEOUT) from error
            finally:
                if child.returncode is None:
                    child.kill()
                    await child.wait()
        try:
            report: dict[str, Any] = orjson.loads(out)
        except orjson.JSONDecodeError as error:
            reason = err.decode(errors="replace").strip()[-_MAX_ERROR:]
            raise ShopError("UPSTREAM_UNAVAILABLE", reason or "the audit failed", Kind.UNAVAILABLE) from error
        return report
