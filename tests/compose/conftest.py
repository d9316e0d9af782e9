"""One composed shop for all tests. `make compose-test` runs them; else they are listed as not run."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.compose.stack import Stack, composed, engine, own_stack


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack() -> AsyncIterator[Stack]:
    """The shop as `docker compose up --build --wait` starts it."""
    if not os.environ.get("TEST_COMPOSE"):
        pytest.skip("not run: needs a container engine and minutes, make compose-test")
    if reason := engine():
        pytest.fail(reason)
    async with composed(own_stack()) as stack:
        yield stack


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def scaled(stack: Stack) -> Stack:
    """The same shop, grown: two gateways, three notifiers and a cluster of three brokers."""
    await stack.up("scale")
    # Once, and before a test uses up the sign-ins of a minute.
    await stack.bearer()
    await stack.bearer("admin@shop.test", "admin")
    return stack
