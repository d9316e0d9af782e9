"""What docs/asyncapi.json asks of a partner is what a partner has to send, and what it promises endpoints is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from partners import senders
from protos.asyncapi.document import document
from tests.waiting import eventually
from tests.webhooks.conftest import SECRETS, Receiver
from webhooks.worker import WorkerSettings

DOCUMENT = document()
SIGNED: dict[str, Callable[[Any, str], senders.SignedWebhook]] = {
    "stripe": lambda payload, secret: senders.stripe(
        payload["type"], payload["data"]["object"], event_id=payload["id"], secret=secret
    ),
    "github": lambda payload, secret: senders.github("push", payload, secret=secret),
    "shopify": lambda payload, secret: senders.shopify("orders/create", payload, secret=secret),
    "standard": lambda payload, secret: senders.standard(payload["type"], payload["data"], secret=secret),
}


def documented(provider: str) -> tuple[list[str], senders.SignedWebhook]:
    """The headers that the document requires, and its example, signed, with these headers and no others."""
    message = DOCUMENT["components"]["messages"][f"{provider}Webhook"]
    webhook = SIGNED[provider](message["examples"][0]["payload"], SECRETS[provider])
    required = message["headers"]["required"]
    headers = {name: webhook.headers[name] for name in required}
    jsonschema.Draft7Validator(message["headers"]).validate(headers)
    return required, senders.SignedWebhook(provider, headers, webhook.body)


@pytest.mark.parametrize("provider", SIGNED)
async def test_the_documents_example_is_accepted(receiver: Receiver, provider: str) -> None:
    """The document's example with the headers that it requires is stored, and has its effect in the shop."""
    _, webhook = documented(provider)
    response = await receiver.send(webhook)
    assert response.status_code == 200, response.text
    await eventually(lambda: receiver.shop.told)


@pytest.mark.parametrize("provider", SIGNED)
async def test_each_required_header_is(receiver: Receiver, provider: str) -> None:
    """Without any one of the headers that the document requires, a webhook is rejected."""
    required, webhook = documented(provider)
    for left_out in required:
        headers = {name: value for name, value in webhook.headers.items() if name != left_out}
        response = await receiver.send(senders.SignedWebhook(provider, headers, webhook.body))
        assert response.status_code in (400, 401), left_out


@pytest.mark.parametrize("left_out", ["order_id", "carrier", "delivered_at"])
def test_a_delivery_is_described(left_out: str) -> None:
    """The document requires of a delivery what its handler does, and nothing of what is ignored."""
    message = DOCUMENT["components"]["messages"]["standardWebhook"]
    payload = message["examples"][0]["payload"]
    data = {name: value for name, value in payload["data"].items() if name != left_out}
    validator = jsonschema.Draft7Validator(message["payload"])
    assert validator.is_valid(payload)
    assert not validator.is_valid({**payload, "data": data})
    assert validator.is_valid({"type": "parcel.weighed"})


def test_retries_are_described() -> None:
    """How often and for how long a delivery is tried, as the document says it, is the settings' default."""
    delays = WorkerSettings.model_fields["webhooks_delivery_delays"].default
    about = DOCUMENT["channels"]["outgoingWebhooks"]["description"]
    assert f"{1 + len(delays)} attempts within {sum(delays) / 3_600:.1f} hours" in about
    days = WorkerSettings.model_fields["webhooks_disable_after"].default / 86_400
    assert f"{days:.0f} days of nothing but failures" in about
    pause = WorkerSettings.model_fields["webhooks_longest_pause"].default / 3_600
    assert f"up to {pause:.0f} hour" in about
