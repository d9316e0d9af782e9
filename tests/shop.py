"""The whole shop for a test: every process of the table, either all in one event loop or each as a real one.

Both use the supervisor's own table and environment, so a test runs what `make up` runs.
"""

from __future__ import annotations

import logging
import os
import random
import socket
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx

from chassis.settings import environment
from shop.process_table import TABLE
from shop.supervisor.environment import Surroundings, survey
from tests.waiting import eventually

log = logging.getLogger(__name__)

# Of six processes that run tests at once each has ports of its own: between look and use another could take them.
# Tests that a test starts, outside the workers, have the last of these ranges.
_WORKERS, _EACH = 6, 3_000
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw5").removeprefix("gw")) % _WORKERS
# Below what the kernel hands out for outgoing connections, so that none of those takes a port in between either.
_PORTS = range(12_000 + _WORKER * _EACH, 12_000 + (_WORKER + 1) * _EACH)
# Those that were handed out last and may not be in use yet.
_newest: deque[int] = deque(maxlen=1_000)


def free_ports(count: int) -> list[int]:
    """Ports on which nothing listens, and which are not handed out again soon."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        if port in _newest:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        _newest.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports left")


def run_of_ports(count: int) -> int:
    """The first of so many free ports in a row, where `free_ports` takes none."""
    ours = range(30_000 + _WORKER * 400, 30_400 + _WORKER * 400 - count)
    for first in random.sample(ours, len(ours)):
        if all(_is_free(first + step) for step in range(count)):
            return first
    raise RuntimeError(f"no {count} free ports in a row left")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def surroundings(data_dir: Path, env: Mapping[str, str] | None = None) -> Surroundings:
    """Where everything of a test's shop is: free ports, a data directory, short delays."""
    settings = [port.setting for spec in TABLE for port in spec.ports]
    chosen = {
        "SHOP_DATA_DIR": str(data_dir),
        "SHOP_PAYMENT_DELAY": "0.05",
        # A noisy machine is not what these tests are about.
        "SHOP_REQUEST_BUDGET": "60",
        "SHOP_GRAPHQL_BUDGET": "50",
        "SHOP_CALL_TIMEOUT": "15",
        "SHOP_RETRY_DELAYS": "[0.1, 0.3, 1, 2, 5]",
        # Tests sign in more often than people.
        "SHOP_SIGN_IN_RATE_LIMIT": "10000/minute",
        "SHOP_LOG_LEVEL": "warning",
        **{setting: str(port) for setting, port in zip(settings, free_ports(len(settings)), strict=True)},
        **(env or {}),
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    return survey(TABLE, {**inherited, **chosen}, starting=True)


@dataclass(frozen=True)
class Shop:
    """A running shop, as its clients see it."""

    around: Surroundings
    http: httpx.AsyncClient
    tokens: dict[str, str] = field(default_factory=dict)

    def address(self, setting: str) -> str:
        return self.around.shared[setting]

    async def token(self, email: str = "demo@shop.test", password: str = "demo") -> str:
        """An access token; requested again where a busy machine was too slow for the request's budget."""

        async def answered() -> httpx.Response | None:
            response = await self.http.post("/v1/auth/token", data={"username": email, "password": password})
            return None if response.status_code in (503, 504) else response

        if email not in self.tokens:
            response = await eventually(answered, within=60)
            assert response.status_code == 200, response.text
            self.tokens[email] = response.json()["access_token"]
        return self.tokens[email]

    async def bearer(self, email: str = "demo@shop.test", password: str = "demo") -> dict[str, str]:
        return {"Authorization": f"Bearer {await self.token(email, password)}"}

    async def place(self, *items: tuple[str, int], key: str = "", **headers: str) -> httpx.Response:
        """POST /v1/orders as the demo customer."""
        body = {"items": [{"product_id": product_id, "quantity": quantity} for product_id, quantity in items]}
        own = {"Idempotency-Key": key} if key else {}
        return await self.http.post("/v1/orders", json=body, headers={**await self.bearer(), **own, **headers})

    async def order(self, order_id: str) -> dict[str, Any]:
        response = await self.http.get(f"/v1/orders/{order_id}", headers=await self.bearer())
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    async def status(self, order_id: str) -> str:
        return str((await self.order(order_id))["status"])


@asynccontextmanager
async def shop_in_one_loop(
    data_dir: Path, env: Mapping[str, str] | None = None, *, without: Sequence[str] = ()
) -> AsyncIterator[Shop]:
    """Every process through its `bootstrap.run`, in this event loop: fast, and the same code."""
    around = surroundings(data_dir, env)
    async with AsyncExitStack() as stack:
        for spec in TABLE:
            if spec.name in without:
                continue
            module, _, attribute = spec.entry.partition(":")
            bootstrap = import_module(module)
            with environment(around.of(spec)):
                if spec.plain:
                    stack.enter_context(bootstrap.running(bootstrap.Settings.from_environment(os.environ)))
                else:
                    try:
                        await stack.enter_async_context(getattr(bootstrap, attribute)())
                    except Exception:
                        # What the exits of those before it make of it is too deep for pytest to show.
                        log.exception("%s did not start", spec.name)
                        raise
        gateway = around.shared["SHOP_GATEWAY_URL"]
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=gateway, timeout=60))
        try:
            yield Shop(around, http)
        except Exception:
            log.exception("the test failed in its shop")  # deep in groups, too
            raise
