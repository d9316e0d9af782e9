"""MCP's Streamable HTTP at the gateway: callers that are admitted, counts, and answers of any copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.mcp.conftest import Connect
from tests.shop import Shop, shop_in_one_loop

pytestmark = pytest.mark.asyncio(loop_scope="module")
REVISION = "2026-07-28"
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": REVISION,
}


def call(method: str, **params: Any) -> dict[str, Any]:
    meta = {
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}


async def post(shop: Shop, message: Any, **headers: str) -> httpx.Response:
    own = {"Mcp-Method": message["method"]} if isinstance(message, dict) and "method" in message else {}
    if isinstance(message, dict) and "name" in message.get("params", {}):
        own["Mcp-Name"] = message["params"]["name"]
    return await shop.http.post("/mcp", json=message, headers={**HEADERS, **own, **headers})


@pytest.mark.parametrize("token", ["", "Bearer nonsense"], ids=["no token", "a bad token"])
async def test_a_stranger_learns_where_tokens_come_from(shop: Shop, token: str) -> None:
    """401 points to the resource's metadata, which names the resource and its authorization server (RFC 9728)."""
    refused = await post(shop, call("tools/list"), **({"Authorization": token} if token else {}))
    assert refused.status_code == 401
    base = shop.address("SHOP_GATEWAY_URL")
    where = f"{base}/.well-known/oauth-protected-resource/mcp"
    assert f'resource_metadata="{where}"' in refused.headers["www-authenticate"]
    metadata = (await shop.http.get(where)).json()
    assert metadata["resource"] == f"{base}/mcp"
    [issuer] = metadata["authorization_servers"]
    server = (await shop.http.get(f"{issuer}/.well-known/oauth-authorization-server")).json()
    assert (server["issuer"], server["token_endpoint"]) == (issuer, f"{base}/oauth/token")


async def test_mcp_server_looks_at_tokens_itself(shop: Shop) -> None:
    """Who reaches mcp_server past the gateway is refused there, too."""
    async with httpx.AsyncClient(base_url=shop.address("SHOP_MCP_URL"), timeout=60) as direct:
        for token in ({}, {"Authorization": "Bearer nonsense"}):
            refused = await direct.post("/mcp", json=call("tools/list"), headers={**HEADERS, **token})
            assert refused.status_code == 401
            assert refused.headers["content-type"] == "application/problem+json"


async def test_there_is_no_session(shop: Shop) -> None:
    """No answer gives a session id, and GET and DELETE, which would be about one, are 405."""
    answer = await post(shop, call("tools/list"), **await shop.bearer())
    assert answer.status_code == 200
    assert "mcp-session-id" not in answer.headers
    for method in ("GET", "DELETE"):
        refused = await shop.http.request(method, "/mcp", headers={**HEADERS, **await shop.bearer()})
        assert refused.status_code == 405
        assert "POST" in refused.headers["allow"]


async def test_one_call_counts_once(tmp_path: Path) -> None:
    """A tool that calls the gateway twice costs its user one request of the limit."""
    async with shop_in_one_loop(tmp_path, {"SHOP_USER_RATE_LIMIT": "3/day"}) as shop:
        bearer = await shop.bearer()
        for _ in range(3):
            answer = await post(shop, call("tools/call", name="order_status", arguments={"order_id": "123"}), **bearer)
            assert not answer.json()["result"]["isError"]
        assert (await post(shop, call("tools/list"), **bearer)).status_code == 429


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"[]", 400), (b'{"jsonrpc": "2.0", "id": 1}', 400), (b"\xff", 400), (b"", 400)],
)
async def test_what_is_no_message_is_refused(shop: Shop, body: bytes, status: int) -> None:
    """Bytes that are no JSON-RPC request get a JSON-RPC error, and nothing breaks."""
    answer = await shop.http.post("/mcp", content=body, headers={**HEADERS, **await shop.bearer()})
    assert answer.status_code == status
    assert answer.json()["error"]["code"] < 0


async def test_an_answer_is_bounded(shop: Shop, connect: Connect) -> None:
    """The largest page of products has no long texts in it: one is cut, and shows it."""
    admin = await shop.bearer("admin@shop.test", "admin")
    long = {"description": "x" * 5_000}
    changed = await shop.http.patch("/v1/products/7", json=long, headers=admin)
    assert changed.status_code == 200, changed.text
    async with connect() as client:
        found = await client.call_tool("search_products", {"limit": 50})
    descriptions = {item["id"]: item["description"] for item in found.structured_content["items"]}
    assert descriptions["7"] == "x" * 279 + "…"
    assert all(len(description) <= 280 for description in descriptions.values())
    assert len(found.model_dump_json()) < 64_000


async def test_an_older_client_has_the_same_tools(connect: Connect) -> None:
    """A client of the revision before, which begins with `initialize`, is served without a session."""
    async with connect(mode="legacy") as client:
        assert client.protocol_version != REVISION
        found = await client.call_tool("search_products", {"query": "keyboard"})
    assert found.structured_content["items"][0]["id"] == "42"
