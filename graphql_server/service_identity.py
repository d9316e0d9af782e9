"""This process's own token, kept fresh beside the requests, so that none of them ever waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from chassis.errors import ShopError

log = logging.getLogger(__name__)

# The source renews it before it expires; it is only looked whether it has.
_LOOK_SECONDS = 5.0


class ServiceIdentity:
    def __init__(self, source: Callable[[], Awaitable[str]]) -> None:
        self._source = source
        self._token = ""

    def __call__(self) -> str:
        """The token; empty while none is to be had. Then calls count against their caller's limits, and go on."""
        return self._token

    async def keep(self) -> None:
        """Keep it fresh, for as long as the process lives."""
        reported = ""
        while True:
            try:
                self._token, reported = await self._source(), ""
            except ShopError as error:
                if error.code != reported:
                    reported = error.code
                    log.warning(
                        "no token of our own: calls count against their caller's limits", extra={"code": reported}
                    )
            await asyncio.sleep(_LOOK_SECONDS)
