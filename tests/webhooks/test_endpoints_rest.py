"""`/v1/webhook-endpoints` as a client of the shop sees it: through the gateway, with a user's token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import standardwebhooks

from gateway import bootstrap as gateway
from services.orders.events import MESSAGES as ORDER_EVENTS
from tests.waiting import eventually
from tests.webhooks.outbound import Outbound, Partner, outbound, partner

PATH = "/v1/webhook-endpoints"


@dataclass
class Rest:
    worker: Outbound
    theirs: Partner
    http: httpx.AsyncClient

    async def call(self, method: str, path: str = "", email: str = "demo@shop.test", **content: Any) -> httpx.Response:
        token = await self.worker.token(email, "admin" if email.startswith("admin") else "demo")
        return await self.http.request(method, f"{PATH}{path}", headers={"authorization": f"Bearer {token}"}, **content)


@pytest.fixture
async def rest(tmp_path: Path) -> AsyncIterator[Rest]:
    async with outbound(tmp_path) as worker, partner() as theirs:
        settings = gateway.Settings(
            data_dir=tmp_path,
            otlp_url="",
            gateway_port=0,
            users_address=worker.settings.users_address,
            webhooks_address=f"127.0.0.1:{worker.port}",
        )
        async with (
            gateway.run(settings) as running,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=60) as http,
        ):
            yield Rest(worker, theirs, http)


async def test_an_endpoints_life(rest: Rest) -> None:
    """Registered, shown, called for an order, changed, re-sent, and deleted."""
    created = await rest.call("POST", json={"url": f"{rest.theirs.url}/hook", "description": "my books"})
    assert created.status_code == 201
    endpoint = created.json()
    secret = endpoint.pop("secret")
    path = f"/{endpoint['id']}"
    assert created.headers["location"] == f"{PATH}{path}"
    assert endpoint["event_types"] == ["order.*"]
    assert (endpoint["enabled"], endpoint["disabled_reason"], endpoint["owner_id"]) == (True, None, "123")
    assert (await rest.call("GET", path)).json() == endpoint
    assert (await rest.call("GET")).json() == {"items": [endpoint], "next_cursor": None}

    await rest.worker.happens("order.paid", order_id="77")

    async def delivered() -> Any:
        deliveries = (await rest.call("GET", f"{path}/deliveries")).json()["items"]
        assert [each["status"] for each in deliveries] == ["delivered"]
        return deliveries[0]

    delivery = await eventually(delivered)
    assert (delivery["order_id"], delivery["event_type"], delivery["next_attempt_at"]) == ("77", "order.paid", None)
    assert [(attempt["number"], attempt["status_code"]) for attempt in delivery["attempts"]] == [(1, 200)]
    (request,) = rest.theirs.requests
    standardwebhooks.Webhook(secret).verify(request.body, request.headers)

    again = await rest.call("POST", f"{path}/deliveries/{delivery['id']}/redeliver")
    assert (again.status_code, again.json()["id"]) == (202, delivery["id"])
    await eventually(lambda: len(rest.theirs.requests) == 2)

    every = ["order.*", *ORDER_EVENTS]
    assert (await rest.call("PATCH", path, json={"event_types": every})).json()["event_types"] == every
    changed = await rest.call("PATCH", path, json={"event_types": ["order.shipped"], "enabled": False})
    assert changed.status_code == 200
    assert changed.json() == {**endpoint, "event_types": ["order.shipped"], "enabled": False}
    refused = await rest.call("POST", f"{path}/deliveries/{delivery['id']}/redeliver")
    assert (refused.status_code, refused.json()["code"]) == (409, "ENDPOINT_DISABLED")
    assert (await rest.call("DELETE", path)).status_code == 204
    assert (await rest.call("GET", path)).status_code == 404


async def test_a_secret_is_replaced(rest: Rest) -> None:
    """A new secret is shown once, in an answer that no cache keeps; both sign for a while; only its owner may ask."""
    created = (await rest.call("POST", json={"url": f"{rest.theirs.url}/hook"})).json()
    path = f"/{created['id']}/secret/rotate"
    rotated = await rest.call("POST", path)
    assert (rotated.status_code, rotated.headers["cache-control"]) == (200, "no-store")
    answer = rotated.json()
    assert answer.keys() == {"secret", "old_secret_until"}
    await rest.worker.happens()
    (request,) = await eventually(lambda: rest.theirs.requests)
    for secret in (created["secret"], answer["secret"]):
        standardwebhooks.Webhook(secret).verify(request.body, request.headers)
    assert (await rest.http.post(f"{PATH}{path}")).status_code == 401
    assert (await rest.call("POST", path, email="customer2@shop.test")).status_code == 404
    for _ in range(3):
        assert (await rest.call("POST", path)).status_code == 200
    refused = await rest.call("POST", path)
    assert (refused.status_code, refused.json()["code"]) == (409, "TOO_MANY_SECRETS")


async def test_pages_of_endpoints(rest: Rest) -> None:
    """Endpoints come newest first, a page at a time."""
    made = [(await rest.call("POST", json={"url": rest.theirs.url})).json()["id"] for _ in range(3)]
    first = (await rest.call("GET", params={"limit": 2})).json()
    rest_of_them = (await rest.call("GET", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [item["id"] for item in first["items"] + rest_of_them["items"]] == made[::-1]
    assert rest_of_them["next_cursor"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "not a url"}, "url"),
        ({"url": "ftp://example.com/"}, "url"),
        ({"url": "http://user@127.0.0.1/"}, "url"),
        ({"url": "http://no-such-host.invalid/"}, "url"),
        ({"url": "http://127.0.0.1/", "event_types": []}, "event_types"),
        ({"url": "http://127.0.0.1/", "event_types": ["stock.changed"]}, "event_types[0]"),
        ({"url": "http://127.0.0.1/", "secret": "mine"}, "secret"),
    ],
)
async def test_what_cannot_be_registered_names_its_field(rest: Rest, body: dict[str, Any], field: str) -> None:
    """A registration that makes no sense is answered 422 problem+json."""
    response = await rest.call("POST", json=body)
    assert response.status_code == 422
    assert field in [error["field"] for error in response.json()["errors"]]


async def test_an_endpoint_is_its_owners(rest: Rest) -> None:
    """Without a token 401; with another customer's 404; an admin may."""
    path = f"/{(await rest.call('POST', json={'url': rest.theirs.url})).json()['id']}"
    assert (await rest.http.get(PATH)).status_code == 401
    for method, below in (("GET", ""), ("DELETE", ""), ("GET", "/deliveries")):
        assert (await rest.call(method, path + below, email="customer2@shop.test")).status_code == 404
    assert (await rest.call("GET", path, email="admin@shop.test")).status_code == 200
