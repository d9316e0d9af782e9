from __future__ import annotations

import pytest
from pydantic import ValidationError

import gateway.bootstrap
import services.notifier.bootstrap
from tests.gateway.conftest import StartShop
from tests.gateway.fakes import Shop

ORIGIN = "https://shop.example"


@pytest.mark.parametrize("path", ["/v1/products/42", "/v1/products/4711", "/nowhere", "/healthz", "/docs"])
async def test_browsers_get_the_headers(shop: Shop, path: str) -> None:
    """Every answer tells a browser not to guess its type, not to frame it and to send no Referer."""
    headers = (await shop.client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "server" not in headers


async def test_docs_are_the_same_for_every_accept(shop: Shop) -> None:
    """What a page does not depend on is no reason for a cache to keep it twice."""
    assert "accept" not in (await shop.client.get("/docs")).headers.get("vary", "").lower().split(", ")


async def test_a_file_keeps_its_own_policy(shop: Shop) -> None:
    """What an answer says for itself is not said twice."""
    shop.storage.hold("f", b"x")
    assert (await shop.client.get("/v1/files/f")).headers.get_list("content-security-policy") == [
        "default-src 'none'; sandbox"
    ]


async def test_no_other_origins(shop: Shop) -> None:
    """Without a setting, no page of another origin may read what we answer."""
    response = await shop.client.get("/v1/products/42", headers={"origin": ORIGIN})
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("origin", ["http://localhost:5173", "http://127.0.0.1:3000", "http://[::1]:3000"])
async def test_development_on_localhost(start_shop: StartShop, origin: str) -> None:
    """A page on any port of localhost may call in development, and in production only where a setting says so."""
    ask = {"origin": origin, "access-control-request-method": "POST"}
    for settings, allowed in (
        ({}, True),
        ({"cors_origins": ""}, False),
        ({"env": "production"}, False),
        ({"env": "production", "cors_origins": "https://shop.example, http://localhost:*"}, "localhost" in origin),
    ):
        async with start_shop(**settings) as shop:
            preflight = await shop.client.options("/v1/orders", headers=ask)
            assert preflight.headers.get("access-control-allow-origin") == (origin if allowed else None)
            read = await shop.client.get("/v1/products/42", headers={"origin": origin})
            assert read.headers.get("access-control-allow-origin") == (origin if allowed else None)


@pytest.mark.parametrize("name", ["cors_origins", "allowed_origins"])
def test_one_form_of_origins(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting of origins, in each process, is a comma-separated list; what is no origin is named at the start."""
    monkeypatch.setenv(f"SHOP_{name.upper()}", "https://shop.example , http://localhost:*,")
    for settings in (gateway.bootstrap.Settings, services.notifier.bootstrap.Settings):
        if name in settings.model_fields:
            assert getattr(settings(), name) == ("https://shop.example", "http://localhost:*")
    for wrong in ('["https://shop.example"]', "shop.example", "https://shop.example/path"):
        monkeypatch.setenv(f"SHOP_{name.upper()}", wrong)
        with pytest.raises(ValidationError, match="separated by commas"):
            gateway.bootstrap.Settings()


async def test_preflight(start_shop: StartShop) -> None:
    """A page of a configured origin may call us, with a token, and one of any other may not."""
    async with start_shop(cors_origins=f"{ORIGIN}, https://admin.example", client_rate_limit="1/minute") as shop:
        ask = {
            "access-control-request-method": "PATCH",
            "access-control-request-headers": "authorization,content-type,if-match",
        }
        allowed = await shop.client.options("/v1/products/42", headers={"origin": ORIGIN, **ask})
        refused = await shop.client.options("/v1/products/42", headers={"origin": "https://evil.example", **ask})
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, ORIGIN)
        assert "PATCH" in allowed.headers["access-control-allow-methods"]
        assert "access-control-allow-credentials" not in allowed.headers
        assert refused.status_code == 400
        assert "access-control-allow-origin" not in refused.headers
        # A page can read an error, too, and what it needs of the headers.
        for status in (200, 429):
            response = await shop.client.get("/v1/products/42", headers={"origin": ORIGIN})
            assert (response.status_code, response.headers["access-control-allow-origin"]) == (status, ORIGIN)
            assert "Origin" in response.headers.get_list("vary", split_commas=True)
            assert "ETag" in response.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/products", "GET, HEAD, OPTIONS, POST"),
        ("/v1/products/42", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("/v1/files/x", "GET, HEAD, OPTIONS"),
    ],
)
async def test_options(shop: Shop, path: str, allowed: str) -> None:
    """OPTIONS lists a resource's methods."""
    response = await shop.client.options(path)
    assert (response.status_code, response.headers["allow"], response.content) == (204, allowed, b"")


async def test_options_of_nothing(shop: Shop) -> None:
    """OPTIONS of a path that does not exist is a 404."""
    assert (await shop.client.options("/nowhere")).status_code == 404
