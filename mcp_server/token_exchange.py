"""Token exchange: an agent's token is for this server alone, and the gateway is called with another one (RFC 8693)."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from chassis.auth.identity import MCP_AUDIENCE, Principal

_MAX_KEPT = 10_000
# Seconds before it expires at which a token is exchanged anew: it has to last for the calls that it is for.
_MARGIN = 5.0

Exchange = Callable[[str], Awaitable[tuple[str, float]]]


class TokenExchange:
    """Keeps what a token was exchanged for, so that an agent's calls cost one exchange, not one each."""

    def __init__(self, exchange: Exchange, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`exchange` returns a token and the seconds that it is valid."""
        self._exchange = exchange
        self._clock = clock
        # The agent's token -> the other one, and until when by `clock`.
        self._kept: OrderedDict[str, tuple[str, float]] = OrderedDict()

    async def token_for(self, caller: Principal) -> str:
        """The token with which the gateway is called for this caller: their own, where it is good for the whole shop.

        Raises what `exchange` raises, such as INVALID_TOKEN.
        """
        if caller.audience != MCP_AUDIENCE:
            return caller.token
        kept, until = self._kept.get(caller.token, ("", 0.0))
        if until > self._clock():
            return kept
        began = self._clock()
        token, lifetime = await self._exchange(caller.token)
        self._kept[caller.token] = (token, began + lifetime - _MARGIN)
        if len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)
        return token
