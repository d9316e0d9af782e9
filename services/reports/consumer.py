"""The log's entries as facts about orders; a batch of them is one transaction of the store."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from decimal import Decimal

from google.protobuf.json_format import Parse, ParseError

from chassis.broker.groups.consumer_group import Batch
from chassis.broker.port import Event
from chassis.currency import to_minor
from protos.shop.events.v1.events_pb2 import OrderLine, OrderPlaced
from services.reports.domain import Ended, Fact, Line, Paid, Placed
from services.reports.ports import Effects

log = logging.getLogger(__name__)

# Minor units of one order: more than fifty lines of a thousand of the dearest product come to, and so little that the
# sums of many orders are still numbers of 64 bits, as databases and JSON have them.
_MAX_AMOUNT = 10**15
# Characters of what figures are kept by: of much more, an index of PostgreSQL takes no row.
_MAX_KEY = 255


class SalesConsumer:
    def __init__(self, effects: Effects) -> None:
        self._effects = effects

    async def handle(self, batch: Batch) -> None:
        await self._effects.apply(batch, list(_facts(batch)))


def _facts(batch: Batch) -> Iterator[Fact]:
    for entry in batch.entries:
        event = entry.event
        try:
            fact = fact_of(event)
        except ValueError as error:
            # No retry would make it readable, and what follows must not wait for it.
            log.error("sales report: invalid %s skipped", event.type, extra={"event": event.id, "reason": str(error)})  # noqa: TRY400
            continue
        if fact is not None:
            yield fact


def fact_of(event: Event) -> Fact | None:
    """The fact about sales in an event; None for none. Raises `ValueError` for one that breaks its contract.

    Also for one that no database could store, since its whole batch would be tried again for ever.

    An event's subject is the order's id, and its time the moment when it happened: only what was ordered is read.
    """
    if "\0" in event.subject or len(event.subject) > _MAX_KEY:
        raise ValueError(f"the order's id has a NUL, or more than {_MAX_KEY} characters")
    match event.type:
        case "order.placed":
            return _placed(event)
        case "order.paid":
            return Paid(event.subject, event.time)
        case "order.rejected" | "order.cancelled":
            return Ended(event.subject)
        case _:
            return None


def _placed(event: Event) -> Placed:
    try:
        payload = Parse(event.data, OrderPlaced(), ignore_unknown_fields=True)
        lines = [_line(line, payload.currency) for line in payload.items]
    except (ParseError, ArithmeticError) as error:
        raise ValueError(str(error)) from error
    if sum(abs(line.amount) for line in lines) > _MAX_AMOUNT:
        raise ValueError(f"the order's amount is over {_MAX_AMOUNT} minor units")
    keys = [payload.user_id, payload.currency, *(line.product_id for line in lines)]
    if any("\0" in text for text in (*keys, *(line.name for line in lines))):
        raise ValueError("a text has a NUL, which PostgreSQL cannot store")
    if any(len(key) > _MAX_KEY for key in keys):
        raise ValueError(f"an id has more than {_MAX_KEY} characters")
    return Placed(event.subject, payload.user_id, payload.currency, lines)


def _line(line: OrderLine, currency: str) -> Line:
    amount = to_minor(Decimal(line.unit_price) * line.quantity, currency)
    return Line(line.product_id, line.name, line.quantity, amount)
