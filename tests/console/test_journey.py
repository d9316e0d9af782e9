"""The commands that look into a running shop, as a person calls them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from shop.process_table import TABLE
from shop.supervisor import state
from shop.supervisor.state import State
from tests.shop import Shop, shop_in_one_loop, surroundings

pytestmark = pytest.mark.timeout(300)
TIMEOUT = 180


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """A whole shop."""
    async with shop_in_one_loop(tmp_path) as running:
        yield running


async def command(env: Mapping[str, str], *arguments: str) -> tuple[int, str, str]:
    """Run `shop …` to its end: exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "shop",
        *arguments,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), TIMEOUT)
    return process.returncode or 0, out.decode(), err.decode()


def crossings(hops: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {(hop["from"], hop["protocol"], hop["to"]) for hop in hops}


async def test_the_tour_shows_every_boundary_that_one_order_crosses(shop: Shop) -> None:
    """`shop tour` finds, in the one trace of the order, every arrow of the design's picture, and exits with 0."""
    code, out, err = await command(shop.around.shared, "tour", "--json")
    assert code == 0, out + err
    told = json.loads(out)
    assert told["problems"] == []
    assert told["events"] == ["order.placed", "order.confirmed", "order.paid", "order.shipped"]
    assert crossings(told["hops"]) >= {
        ("client", "REST", "gateway"),
        ("gateway", "gRPC", "orders"),
        ("orders", "gRPC", "catalog"),
        ("catalog", "gRPC", "inventory"),
        ("orders", "queue", "order_worker"),
        ("order_worker", "gRPC", "inventory"),
        ("order_worker", "gRPC", "erp_adapter"),
        ("erp_adapter", "SOAP", "legacy_soap"),
        ("order_worker", "HTTP", "payment_provider"),
        ("payment_provider", "webhook", "webhooks"),
        ("webhook_worker", "queue", "webhook_worker"),
        ("webhook_worker", "gRPC", "orders"),
        ("order_worker", "queue", "mailer"),
        ("mailer", "SMTP", "smtp_sink"),
        ("notifier", "WebSocket", "client"),
    }
    assert crossings(told["graphql"]["hops"]) >= {
        ("client", "GraphQL", "gateway"),
        ("graphql_server", "REST", "gateway"),
        ("gateway", "gRPC", "users"),
    }
    queued = [hop for hop in told["hops"] if hop["queue"] == "order-processing"]
    assert queued
    assert all(hop["waiting_ms"] >= 0 for hop in queued)


async def test_the_tour_of_a_refused_order_shows_how_it_is_undone(shop: Shop) -> None:
    """`shop tour --reject` sees the refusal, the compensation and the mail, prints them, and exits with 0."""
    code, out, err = await command(shop.around.shared, "tour", "--reject")
    assert code == 0, out + err
    assert "order.placed -> order.rejected" in out
    assert "refused: OUT_OF_STOCK" in out
    assert "by order-compensation" in out


async def test_a_shop_is_started_for_the_tour_where_none_runs(tmp_path: Path) -> None:
    """Without a shop, `shop tour` starts one, makes the journey, and leaves no process behind."""
    around = surroundings(tmp_path)
    code, out, err = await command(around.shared, "tour")
    assert code == 0, out + err
    assert "starting one" in err
    left = state.read(tmp_path)
    assert len(left) == len(TABLE)
    assert {process.state for process in left} == {State.STOPPED}


async def test_events_are_told_live_and_again(shop: Shop) -> None:
    """`events tail` prints what the WebSocket sends, `events replay` the same from the log."""
    env = shop.around.shared
    order_id = (await shop.place(("42", 1))).json()["id"]
    tailing = (
        "events",
        "tail",
        "--topic",
        "order.*",
        "--email",
        "demo@shop.test",
        "--after",
        "0",
        "--count",
        "4",
        "--json",
    )
    code, live, err = await command(env, *tailing)
    assert code == 0, err
    frames = [json.loads(line) for line in live.splitlines()]
    assert [(frame["type"], frame["subject"]) for frame in frames] == [
        (event, order_id) for event in ("order.placed", "order.confirmed", "order.paid", "order.shipped")
    ]
    code, again, err = await command(env, "events", "replay", "--topic", "order.*", "--json")
    assert code == 0, err
    replayed = [json.loads(line) for line in again.splitlines()]
    assert [(frame["id"], frame["data"]) for frame in replayed] == [(frame["id"], frame["data"]) for frame in frames]


async def test_a_token_is_printed_or_a_reason(shop: Shop) -> None:
    """`shop token` prints a token that the gateway takes, or says why there is none and exits with 2."""
    code, out, _ = await command(shop.around.shared, "token", "admin@shop.test")
    assert code == 0
    response = await shop.http.get("/v1/users/me", headers={"Authorization": f"Bearer {out.strip()}"})
    assert response.json()["email"] == "admin@shop.test"
    wrong = {**shop.around.shared, "SHOP_PASSWORD": "wrong"}
    code, _, err = await command(wrong, "token", "admin@shop.test")
    assert code == 2
    assert "sign-in failed for admin@shop.test: wrong email or password" in err
