"""MCP through the gateway, by the official SDK's client: as an agent reads the shop."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from bench.compare.adapters import rows
from bench.compare.adapters.port import Call, Link, Rows, Selection


@asynccontextmanager
async def connect(link: Link) -> AsyncIterator[Call]:
    """Option "tool": the tool `search_products`; else the resource `product://ID`. The SDK lists both first."""
    headers = {"Accept-Encoding": "identity", **link.headers}
    limits = httpx2.Limits(max_connections=link.connections)
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, limits=limits, timeout=30) as http,
        Client(streamable_http_client(f"{link.url}/mcp", http_client=http)) as client,
    ):

        async def call(selection: Selection) -> Rows:
            found = await _searched(client, selection) if "tool" in link.options else await _read(client, selection)
            return rows.chosen(found, selection.fields)

        yield call


async def _read(client: Client, selection: Selection) -> list[dict[str, Any]]:
    answers = [await client.read_resource(f"product://{each}") for each in selection.ids]
    return [json.loads(getattr(answer.contents[0], "text")) for answer in answers]  # noqa: B009 - text, not a blob


async def _searched(client: Client, selection: Selection) -> list[dict[str, Any]]:
    answer = await client.call_tool("search_products", {"limit": selection.limit})
    found: list[dict[str, Any]] = (answer.structured_content or {})["items"]
    return found
