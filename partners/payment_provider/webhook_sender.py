"""Sends the shop a signed webhook about what became of a payment, again and again until it is answered with 2xx."""

from __future__ import annotations

import logging
import random

import aiohttp

from chassis.observability.capture.http import keep_aiohttp_response
from chassis.observability.tracing import SpanKind, Telemetry, current_traceparent
from partners import senders
from partners.payment_provider.ledger import PendingEvent

log = logging.getLogger(__name__)

_PATH = "/webhooks/stripe"
_FIRST_DELAY = 0.25
MAX_DELAY = 10.0


class WebhookSender:
    def __init__(self, client: aiohttp.ClientSession, webhooks_url: str, secret: str, telemetry: Telemetry) -> None:
        self._client = client
        self._url = webhooks_url.rstrip("/") + _PATH
        self._secret = secret
        self._telemetry = telemetry

    async def send(self, event: PendingEvent) -> bool:
        """Whether the shop has taken it. Goes out in the trace of the request for the payment."""
        webhook = senders.stripe(
            event.type, event.object, secret=self._secret, event_id=event.id, created=int(event.created)
        )
        with self._telemetry.span(
            f"POST {_PATH}",
            SpanKind.CLIENT,
            protocol="webhook",
            peer="webhooks",
            parent=event.traceparent,
            attributes={"http.request.method": "POST", "url.full": self._url, "shop.bytes.sent": len(webhook.body)},
        ) as span:
            headers = {**webhook.headers, "traceparent": current_traceparent()}
            try:
                async with self._client.post(
                    self._url, data=webhook.body, headers=headers, allow_redirects=False
                ) as response:
                    answer = await response.read()
                    if self._telemetry.capture is not None:
                        keep_aiohttp_response(span, response, answer)
            except (aiohttp.ClientError, TimeoutError) as error:
                log.info("webhook not delivered: shop unavailable", extra={"event": event.id, "reason": repr(error)})
                return False
            span.set_attribute("http.response.status_code", response.status)
            span.set_attribute("shop.bytes.received", len(answer))
        taken = 200 <= response.status < 300
        if not taken:
            log.warning("webhook refused by the shop", extra={"event": event.id, "status": response.status})
        return taken


def delay_after(attempts: int) -> float:
    """Seconds to wait after so many attempts have failed: doubled each time, spread by a quarter."""
    delay = min(_FIRST_DELAY * (1 << min(attempts, 16)), MAX_DELAY)
    return delay * random.uniform(0.75, 1.25)  # noqa: S311  # nosec B311 # nothing to guess here
