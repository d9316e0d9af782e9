"""Rate-limit storage: counters in memory, or in Redis where several gateways share them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from chassis.resilience.deadlines import CircuitBreaker

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool
    from redis.commands.core import AsyncScript

log = logging.getLogger(__name__)

_MAX_WINDOWS = 50_000
# Seconds that a request waits for Redis at most.
_TIMEOUT = 0.1

# Counts so many more, and opens the window where there is none: (count, milliseconds until it ends).
_HIT = """
local count = redis.call("INCRBY", KEYS[1], ARGV[2])
local left = redis.call("PTTL", KEYS[1])
if left < 0 then
  redis.call("PEXPIRE", KEYS[1], ARGV[1])
  left = tonumber(ARGV[1])
end
return {count, left}
"""


class RateLimitStorage(Protocol):
    """Fixed windows by key; one begins with its first hit."""

    async def hit(self, key: str, seconds: int, *, amount: int = 1) -> tuple[int, float]:
        """Count `amount` more, 0 to look: the hits of the window so far, and the seconds until it ends."""


class MemoryStorage:
    """Fixed windows in this process's memory: at most 50,000, the oldest evicted first. A hit costs 1 us."""

    def __init__(self) -> None:
        # key -> count and end, in the order in which the windows began.
        self._windows: dict[str, tuple[int, float]] = {}

    async def hit(self, key: str, seconds: int, *, amount: int = 1) -> tuple[int, float]:
        now = time.monotonic()
        count, end = self._windows.get(key, (0, 0.0))
        if end <= now:
            self._windows.pop(key, None)
            self._make_room(now)
            count, end = 0, now + seconds
        if count + amount:
            self._windows[key] = count + amount, end
        return count + amount, end - now

    def _make_room(self, now: float) -> None:
        while self._windows:
            oldest = next(iter(self._windows))
            if self._windows[oldest][1] > now and len(self._windows) < _MAX_WINDOWS:
                return
            del self._windows[oldest]


class RedisStorage:
    """Fixed windows in Redis, one round trip a hit.

    While Redis is away, each gateway counts by itself: a limit that is too generous for a while beats a shop that is
    closed. A request waits a tenth of a second for it, and a breaker keeps the next ones from waiting too.
    """

    def __init__(self, script: AsyncScript, pool: ConnectionPool) -> None:
        self._script = script
        self._pool = pool
        self._alone = MemoryStorage()
        self._breaker = CircuitBreaker(threshold=3)
        self._away = False

    async def hit(self, key: str, seconds: int, *, amount: int = 1) -> tuple[int, float]:
        from redis.exceptions import RedisError

        if not self._breaker.allows_call():
            return await self._alone.hit(key, seconds, amount=amount)
        try:
            async with asyncio.timeout(_TIMEOUT):
                count, left = await self._script(keys=[f"shop:rate:{key}"], args=[seconds * 1000, amount])
        except (RedisError, OSError, TimeoutError) as error:
            self._breaker.failed()
            # A server that answers with an error may be the wrong one by now, a primary that was demoted: the name in
            # its URL leads a new connection to the right one.
            with suppress(RedisError, OSError):
                await self._pool.disconnect(inuse_connections=False)
            if not self._away:
                log.warning("rate limits counted in memory: Redis unavailable", extra={"reason": repr(error)})
            self._away = True
            return await self._alone.hit(key, seconds, amount=amount)
        self._breaker.succeeded()
        if self._away:
            log.warning("rate limits shared again: Redis available")
        self._away = False
        return int(count), int(left) / 1000


@asynccontextmanager
async def rate_limit_storage(url: str) -> AsyncIterator[RateLimitStorage]:
    """The rate limit storage at `url`: `redis://…` (`rediss:` with TLS), or this process's memory when it is empty.

    Nothing is connected to before it is needed. Raises `ValueError` for another scheme.
    """
    if not url:
        yield MemoryStorage()
        return
    # Imported here: it costs a process 0.1 s, for which the default has no use.
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    # Its own retries would take longer than a request waits.
    once = Retry(NoBackoff(), 0)
    pool = BlockingConnectionPool.from_url(
        url, max_connections=16, timeout=_TIMEOUT, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, retry=once
    )
    client = Redis.from_pool(pool)
    try:
        yield RedisStorage(client.register_script(_HIT), pool)
    finally:
        await client.aclose()
