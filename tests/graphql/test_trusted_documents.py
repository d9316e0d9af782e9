"""Only trusted documents, where the server is set so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from graphql_server.bootstrap import Settings, run
from tests.graphql.conftest import Client, FakeGateway

KNOWN = "query ($id: ID!) { product(id: $id) { name } }"
DIGEST = hashlib.sha256(KNOWN.encode()).hexdigest()
APQ = {"persistedQuery": {"version": 1, "sha256Hash": DIGEST}}


@pytest.fixture
async def trusting(settings: Settings, tmp_path: Path) -> AsyncIterator[Client]:
    path = tmp_path / "documents.json"
    path.write_text(json.dumps({DIGEST: KNOWN}))
    chosen = settings.model_copy(update={"graphql_trusted_documents": path})
    async with run(chosen) as running, aiohttp.ClientSession() as session:
        yield Client(session, f"http://127.0.0.1:{running.port}/graphql")


@pytest.mark.parametrize(
    "named",
    [
        {"extensions": APQ},
        {"documentId": DIGEST},
        {"documentId": f"sha256:{DIGEST}"},
        {"extensions": APQ, "query": "{ me { id } }"},
    ],
)
async def test_known_document(trusting: Client, named: dict[str, Any]) -> None:
    """A known hash runs its document, whatever text comes with it."""
    answer = await trusting.send("POST", json={**named, "variables": {"id": "7"}})
    assert answer == {"data": {"product": {"name": "Product 7"}}}
    parameters = {name: value if isinstance(value, str) else json.dumps(value) for name, value in named.items()}
    answer = await trusting.send("GET", params={**parameters, "variables": '{"id": "7"}'})
    assert answer == {"data": {"product": {"name": "Product 7"}}}


@pytest.mark.parametrize(
    "unknown", [{"query": KNOWN}, {"query": "{"}, {"documentId": "0" * 64}, {"query": KNOWN, "documentId": "x"}]
)
async def test_everything_else(trusting: Client, gateway: FakeGateway, unknown: dict[str, Any]) -> None:
    """Anything but a known hash is refused before it is parsed."""
    answer = await trusting.send("POST", json=unknown)
    assert answer["errors"][0]["extensions"]["code"] == "PERSISTED_QUERY_REQUIRED"
    assert gateway.calls == []


@pytest.mark.parametrize("documents", [{"0" * 64: KNOWN}, {DIGEST: 7}, [KNOWN], {}])
async def test_file(settings: Settings, tmp_path: Path, documents: Any) -> None:
    """A file in which a hash is not its document's, or a document is not valid, stops the process from starting."""
    invalid = "{ nothing }"
    documents = documents or {hashlib.sha256(invalid.encode()).hexdigest(): invalid}
    path = tmp_path / "documents.json"
    path.write_text(json.dumps(documents))
    with pytest.raises(ValueError, match="document"):
        settings.model_copy(update={"graphql_trusted_documents": path}).documents(settings.executable_schema())


async def test_without_the_option(client: Client) -> None:
    """Without it, a client of automatic persisted queries is asked, in its protocol's words, to send the text."""
    answer = await client.send("POST", json={"extensions": APQ})
    assert answer["errors"][0]["message"] == "PersistedQueryNotSupported"
    answer = await client.send("POST", json={"extensions": APQ, "query": KNOWN, "variables": {"id": "7"}})
    assert answer["data"] == {"product": {"name": "Product 7"}}
    await client.send("POST", json={"extensions": {"persistedQuery": "x"}})
    assert client.status == 400
