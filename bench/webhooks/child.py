"""The processes that `bench.webhooks` loads: `python -m bench.webhooks.child receiver|floor|worker` prints its port."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import uvloop

from bench.roles import say_until_closed
from chassis.process import Running, tune_garbage_collection
from webhooks import bootstrap, worker
from webhooks.incoming.domain import Webhook


class NoIntake:
    """Keeps nothing: the floor."""

    async def add(self, webhook: Webhook) -> bool:  # noqa: ARG002  # that is the point
        return True

    async def healthy(self) -> bool:
        return True


class DeafShop:
    """A shop that takes every call and does nothing."""

    def __getattr__(self, name: str) -> Any:
        async def done(*_: object) -> None:
            return

        return done


@asynccontextmanager
async def _floor() -> AsyncIterator[Running]:
    async with bootstrap.run(intake=NoIntake()) as running:
        yield running


def _role(name: str) -> AbstractAsyncContextManager[Running]:
    if name == "floor":
        return _floor()
    return bootstrap.run() if name == "receiver" else worker.run_worker(shop=DeafShop())


async def _serve(role: str) -> None:
    async with _role(role) as running:
        tune_garbage_collection()
        await say_until_closed(running.port)


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
