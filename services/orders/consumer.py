"""The work queues of orders: each delivery is one step of the saga."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from chassis.broker.port import Event
from services.orders.saga import Saga

Handler = Callable[[Event], Awaitable[None]]


def handlers(saga: Saga) -> dict[str, Handler]:
    """Queue -> what is done with an event from it. The subject is the order's id; its row says the rest."""

    def step(of_saga: Callable[[str], Awaitable[None]]) -> Handler:
        async def handle(event: Event) -> None:
            await of_saga(event.subject)

        return handle

    return {
        "order-processing": step(saga.process),
        "order-fulfilment": step(saga.fulfil),
        "order-compensation": step(saga.compensate),
    }
