"""Fair share of the order queue among waiting customers: a pure decision."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from chassis.errors import Kind, ShopError
from services.orders.ports import Backlog

# Orders that every customer may have waiting, whatever the others have.
FEW = 10
_MAX_RETRY_SECONDS = 60


def refusal(backlog: Backlog, user_id: str, now: datetime, *, max_age: timedelta) -> ShopError | None:
    """The refusal (503 with `Retry-After`) of a customer's order; None when it is accepted."""
    if backlog.oldest is None:
        return None
    age = now - backlog.oldest
    # An even share, with a place left for customers who have none waiting yet.
    share = max(FEW, sum(backlog.by_customer.values()) / (len(backlog.by_customer) + 1))
    limit = max_age if backlog.by_customer.get(user_id, 0) <= share else max_age / 2
    if age < limit:
        return None
    later = max(1, min(math.ceil((age - limit).total_seconds()), _MAX_RETRY_SECONDS))
    message = f"orders have been waiting for {age.total_seconds():.0f} s: place this one later"
    return ShopError("OVERLOADED", message, Kind.EXHAUSTED, retry_after=later)
