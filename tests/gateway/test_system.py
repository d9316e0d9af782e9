from __future__ import annotations

from tests.gateway.conftest import StartShop
from tests.gateway.fakes import Shop


async def test_alive(shop: Shop) -> None:
    """The gateway says that it is alive."""
    assert (await shop.client.get("/healthz")).status_code == 200


async def test_ready(shop: Shop) -> None:
    """The gateway is ready while every upstream is serving."""
    response = await shop.client.get("/readyz")
    assert (response.status_code, set(response.json()["upstreams"].values())) == (200, {"SERVING"})


async def test_not_ready(start_shop: StartShop) -> None:
    """While an upstream is away the gateway is not ready, and says which one it is."""
    async with start_shop(storage_address="127.0.0.1:1") as shop:
        response = await shop.client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["upstreams"] == {
        **dict.fromkeys(("users", "catalog", "orders", "inventory"), "SERVING"),
        "storage": "UNAVAILABLE",
    }


async def test_keys(shop: Shop) -> None:
    """The public keys are there for anyone who verifies tokens."""
    response = await shop.client.get("/.well-known/jwks.json")
    assert [key["crv"] for key in response.json()["keys"]] == ["Ed25519"]
    assert response.headers["cache-control"].startswith("public")


async def test_head(shop: Shop) -> None:
    """HEAD answers as GET does, without the body."""
    head, get = await shop.client.head("/v1/products/42"), await shop.client.get("/v1/products/42")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]
    assert head.headers["etag"] == get.headers["etag"]


async def test_document(shop: Shop) -> None:
    """The gateway serves its OpenAPI document."""
    response = await shop.client.get("/openapi.json")
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")


async def test_docs(shop: Shop) -> None:
    """The documentation page is there."""
    assert (await shop.client.get("/docs")).status_code == 200
