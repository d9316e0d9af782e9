"""The commands with which a person looks into a running shop, calls it, and ends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from shop.commands.processes.certs import ensure
from shop.process_table import TABLE
from tests.shop import Shop, free_ports
from tests.system.real_shop import RealShop, real_shop
from tests.waiting import eventually

pytestmark = [pytest.mark.system, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealShop]:
    async with real_shop(tmp_path_factory.mktemp("shop")) as started:
        yield started


async def run(shop: Shop, *arguments: str, given: str = "") -> tuple[int, str, str]:
    """Run `shop …`: exit code, what it printed, and what it said of errors."""
    own = {name: value for name, value in shop.around.shared.items() if not name.startswith("SHOP_WEBHOOK_SECRET")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "shop", *arguments),
        env=own,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(given.encode()), 60)
    return process.returncode or 0, out.decode(), err.decode()


async def answers(shop: Shop, *arguments: str, given: str = "") -> list[dict[str, object]]:
    """What `shop call … --json` prints; it must succeed."""
    code, out, err = await run(shop, "call", *arguments, "--json", given=given)
    assert code == 0, err
    return [json.loads(line) for line in out.splitlines()]


async def test_order_tells_its_story(shop: RealShop) -> None:
    """`shop order ID` has status, history, stock, payment, webhooks and mails; of an unknown order it says so."""
    order_id = (await shop.place(("42", 1))).json()["id"]

    async def settled() -> bool:
        _, out, _ = await run(shop, "order", order_id)
        return "verdict: settled" in out

    await eventually(settled, within=60)
    code, out, _ = await run(shop, "order", order_id)
    assert code == 0
    assert f"order {order_id}: shipped" in out
    story = ["order.placed", "order.confirmed", "order.paid", "order.shipped", "shipped: 1 x 42", "succeeded: 8900 eur"]
    places = [out.index(each) for each in [*story, "payment_intent.succeeded: applied", "confirmed to demo@shop.test"]]
    assert places == sorted(places)
    assert (await run(shop, "order", "unknown"))[0] == 1
    _, out, _ = await run(shop, "order", order_id, "--json")
    assert json.loads(out)["order"]["status"] == "shipped"


async def test_demo_order_is_told_apart(shop: RealShop) -> None:
    """Of an order that was loaded as demo data, `shop order` says so; a webhook about it leaves the books in order."""
    code, out, _ = await run(shop, "order", "123")
    assert (code, "demo data" in out) == (0, True)
    code, out, _ = await run(shop, "partner", "send", "stripe", "--fault", "out-of-order")
    assert (code, "2 x 200" in out) == (0, True)
    _, out, _ = await run(shop, "audit", "--wait", "30")
    assert "the books agree" in out
    assert "waits for a person" not in out


@pytest.mark.parametrize(
    "words",
    [
        ("audit", "--wait", "30"),
        ("status",),
        ("queues",),
        ("token", "demo@shop.test"),
        ("order", "123"),
        ("call", "erp_adapter", "GetStockLevels", "product_ids=42"),
    ],
)
async def test_a_proxy_for_the_web_is_not_used_for_the_shop(shop: RealShop, words: tuple[str, ...]) -> None:
    """With a proxy in the environment that does not answer, commands find the shop as without one."""
    proxy = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"), "http://127.0.0.1:1")
    behind = replace(shop, around=replace(shop.around, shared={**shop.around.shared, **proxy}))
    code, out, err = await run(behind, *words)
    assert (code, "127.0.0.1:1" in out + err) == (0, False), out + err


async def test_what_is_said_comes_back_as_an_event(shop: RealShop) -> None:
    """`shop events say` prints the event of its own message; a room that is not there is refused."""
    code, out, err = await run(shop, "events", "say", "123", " Where is it? ", "--json")
    assert code == 0, err
    posted = json.loads(out.splitlines()[-1])
    assert (posted["type"], posted["subject"], posted["data"]["text"]) == ("chat.posted", "123", "Where is it?")
    code, _, err = await run(shop, "events", "say", "no-such-order", "Hello")
    assert (code, "NOT_FOUND" in err) == (2, True)


async def test_position_that_is_none_is_refused(shop: RealShop) -> None:
    """`shop events tail --after` says what a position is."""
    code, _, err = await run(shop, "events", "tail", "--after", "yesterday")
    assert (code, 'invalid position "yesterday"' in err) == (2, True)


async def test_second_copy_runs_while_a_command_does(shop: RealShop) -> None:
    """`shop run --while` runs the command once the copy is ready, ends with its code, and leaves nothing behind."""
    port = free_ports(1)[0]
    look = f"curl -s -o {os.devnull} -w '%{{http_code}}' http://127.0.0.1:{port}/readyz; exit 7"
    around = replace(shop.around, shared={**shop.around.shared, "SHOP_NOTIFIER_PORT": str(port)})
    copy = replace(shop, around=around)
    code, out, _ = await run(copy, "run", "notifier", "--while", look)
    assert (code, "200" in out) == (7, True)
    async with httpx.AsyncClient(timeout=60) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://127.0.0.1:{port}/readyz")
    code, _, err = await run(shop, "run", "notifier", "--while", "true")
    assert (code, "notifier ended before it was ready" in err) == (2, True), "its port is taken"


@pytest.mark.parametrize("option", [[], ["--reject"]], ids=["shipped", "rejected"])
async def test_tour_fits_eighty_columns(shop: RealShop, option: list[str]) -> None:
    """In a terminal of 80 columns no line of the tour is longer, and every hop is as it should be."""
    reading, writing = pty.openpty()
    env = {**shop.around.shared, "COLUMNS": "80", "TERM": "xterm"}
    tour = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "shop", "tour", *option), env=env, stdout=writing, stderr=writing
    )
    os.close(writing)
    printed = await asyncio.wait_for(asyncio.to_thread(_read, reading), 90)
    assert await tour.wait() == 0, printed
    lines = printed.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.endswith("hops, all as they should be.") for line in lines)
    assert ("Refused as it should be" in printed) is bool(option)


def _read(descriptor: int) -> str:
    """All that is written to a terminal until its last writer has gone."""
    printed = b""
    with os.fdopen(descriptor, "rb", buffering=0) as terminal, contextlib.suppress(OSError):
        while chunk := terminal.read(1 << 16):
            printed += chunk
    return printed.decode()


async def test_call_makes_all_four_kinds(shop: RealShop, tmp_path: Path) -> None:
    """Unary, client stream, server stream and both ways, each signed in as the service demands."""
    (order,) = await answers(shop, "orders", "GetOrder", "id=123")
    assert order["order"]["id"] == "123"  # type: ignore[index]
    (event,) = await answers(shop, "orders", "WatchOrder", "order_id=123", "--count", "1")
    assert event["type"] == "order.placed"
    reports = ["id=a", "product_id=7", "quantity=1", "+", "id=b", "product_id=7", "quantity=2"]
    levels = await answers(shop, "inventory", "SyncStock", *reports)
    assert [level["adjustment_id"] for level in levels] == ["a", "b"], "as an admin, whom it demands"
    (tmp_path / "hello").write_text("hello")
    upload = ("UploadFile", "header.content_type=text/plain", "+", f"data=@{tmp_path / 'hello'}")
    (stored,) = await answers(shop, "storage", *upload)
    assert stored["file"]["size"] == "5"  # type: ignore[index]
    (stock,) = await answers(shop, "erp_adapter", "GetStockLevels", "product_ids=42", "product_ids=123")
    assert len(stock["levels"]) == 2, "as inventory, whom it demands"  # type: ignore[arg-type]
    (found,) = await answers(shop, "shop.catalog.v1.CatalogService", "GetProducts", "-", given='{"ids": ["42"]}\n')
    assert found["products"][0]["id"] == "42"  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("orders", "GetOrder", "id=nope"), 1, "NOT_FOUND"),
        (("orders", "ListRecords", "--as", "demo@shop.test"), 1, "FORBIDDEN"),
        (("orders", "GetOrdr"), 2, 'Did you mean "GetOrder"?'),
        (("ordrs", "GetOrder"), 2, 'Did you mean "orders"?'),
        (("orders", "GetOrder", "idd=1"), 2, 'Did you mean "id"?'),
        (("orders", "GetOrder", "id"), 2, "not of the form field=value"),
        (("inventory", "ListStock", "page_size=many"), 2, "invalid ListStockRequest"),
    ],
)
async def test_call_says_what_is_wrong(shop: RealShop, arguments: tuple[str, ...], code: int, said: str) -> None:
    """What the service refuses is exit code 1; what cannot be sent is 2, and says what to change."""
    ended, _, err = await run(shop, "call", *arguments)
    assert (ended, said in err) == (code, True), err


async def test_queues_and_pages_are_shown(shop: RealShop) -> None:
    """`shop queues` has a line for each queue; `shop open` prints the URL of a page that answers."""
    _, out, _ = await run(shop, "queues", "--json")
    names = {each["queue"] for each in json.loads(out)["items"]}
    assert {"order-processing", "order-mail", "webhook-processing"} <= names
    code, out, _ = await run(shop, "open", "docs")
    assert (code, out.strip()) == (0, f"{shop.address('SHOP_GATEWAY_URL')}/docs")
    assert 'Did you mean "mails"?' in (await run(shop, "open", "mail"))[2]


async def test_status_and_the_map_show_how_far_the_event_log_was_read(shop: RealShop) -> None:
    """By partition, and in all; a group that has read everything has nothing unread."""
    assert (await shop.place(("42", 1))).status_code == 202

    async def read() -> bool:
        code, out, _ = await run(shop, "status", "--json")
        partitions = json.loads(out)["event_log"]["reports"] or ()
        assert (code, [(each["partition"], each["unread"]) for each in partitions]) == (0, [(0, 0)])
        async with httpx.AsyncClient(base_url=shop.address("SHOP_CONSOLE_URL"), trust_env=False, timeout=60) as http:
            assert (await http.get("/api/topology")).json()["unread"] == {"reports": 0}
        return True

    await eventually(read, within=60)


async def test_healthy_says_yes_or_no(shop: RealShop) -> None:
    """`shop healthy` prints what its exit code says."""

    async def says_yes() -> bool:
        return await run(shop, "healthy", "orders") == (0, "orders is healthy\n", "")

    await eventually(says_yes, within=60)


async def test_doctor_finds_nothing_wrong_where_the_shop_runs(shop: RealShop) -> None:
    """Ports that the shop of this directory holds are not in its way."""
    code, out, _ = await run(shop, "doctor")
    assert code == 0, out
    assert "in use by the shop that runs here" in out


async def test_down_ends_it_and_reset_removes_its_state(tmp_path: Path) -> None:
    """`shop reset` asks the user first; then it ends the shop and removes what is its own, and nothing else."""
    async with real_shop(tmp_path) as shop:
        mine = ["measured.sqlite", "notes.txt", "package.json", "server.log"]
        for name in mine:
            (tmp_path / name).write_text("mine")
        for name in ("faults", "clocks"):  # as a lab leaves them
            (tmp_path / name).mkdir(exist_ok=True)
        assert (await run(shop, "reset", given="n\n"))[0] == 1
        assert shop.all_ready()
        code, out, _ = await run(shop, "reset", "--yes")
        assert code == 0
        assert shop.supervisor is not None
        assert await asyncio.wait_for(shop.supervisor.wait(), 30) == 0
        assert "notes.txt" in out
        # And the log of this test's own shop.
        assert sorted(os.listdir(tmp_path)) == [*mine, "up.log"]  # noqa: PTH208 - see ASYNC240
        code, out, _ = await run(shop, "down")
        assert (code, "No shop is running" in out) == (0, True)
        code, _, err = await run(shop, "audit")
        assert (code, "no shop is running here" in err) == (2, True), err


async def test_commands_know_how_the_shop_was_started(tmp_path: Path) -> None:
    """A tour in another terminal finds the modern ERP and whom to trust by itself; its own environment comes first."""
    certificates = tmp_path / "certs"
    ensure(certificates, TABLE)
    given = {"SHOP_ERP": "modern", "SHOP_TLS_DIR": str(certificates)}
    async with real_shop(tmp_path, given) as shop:
        terminal = {"PATH": os.environ["PATH"], "SHOP_DATA_DIR": str(tmp_path)}
        other = Shop(replace(shop.around, shared=terminal), shop.http)
        code, out, err = await run(other, "tour")
        assert code == 0, out + err
        assert "this shop runs on the modern ERP" in out
        terminal["SHOP_TLS_DIR"] = ""
        code, _, err = await run(other, "tour")
        assert code != 0
