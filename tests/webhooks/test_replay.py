"""Replay: by id, by provider and time, of what has failed; noted down; and only by admins."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from chassis.errors import Kind, ShopError
from chassis.grpc.timestamps import timestamp
from chassis.http.server import serve_http
from partners import senders
from protos.shop.webhooks.v1 import webhooks_pb2 as pb
from tests.waiting import eventually
from tests.webhooks.conftest import SECRETS, settings_for
from tests.webhooks.outbound import Outbound, outbound
from webhooks.bootstrap import run
from webhooks.incoming.consumer import QUEUE

# What no later try can mend; an outage would be waited for.
WRONG_PAYMENT = ShopError("WRONG_PAYMENT", "the order waits for another payment", Kind.PRECONDITION)


@dataclass
class Replaying:
    """Both processes, and the command line as an admin runs it."""

    worker: Outbound
    http: httpx.AsyncClient
    environment: dict[str, str]

    async def sends(self, event_id: str, order_id: str = "77") -> None:
        obj = {"id": "pi_1", "metadata": {"order_id": order_id}}
        webhook = senders.stripe("payment_intent.succeeded", obj, secret=SECRETS["stripe"], event_id=event_id)
        response = await self.http.post("/webhooks/stripe", content=webhook.body, headers=webhook.headers)
        assert response.status_code == 200

    async def shop(self, *arguments: str, command: str = "webhooks") -> tuple[int, str]:
        """`shop webhooks …`, or another of its commands: its exit code and output."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "shop", command, *arguments, env=self.environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def dead_letters(self) -> list[dict[str, Any]]:
        """As `shop dead-letters list` shows those of webhooks."""
        code, output = await self.shop("list", "--json", "--queue", QUEUE, command="dead-letters")
        assert code == 0, output
        items: list[dict[str, Any]] = json.loads(output)["items"]
        return items

    async def listed(self, *options: str) -> list[dict[str, Any]]:
        code, output = await self.shop("list", "--json", *options)
        assert code == 0, output
        items: list[dict[str, Any]] = json.loads(output)["items"]
        return items

    async def webhooks(self) -> list[pb.Webhook]:
        api = await self.worker.admin()
        found: pb.ListWebhooksResponse = await api.client.call(api.admin.ListWebhooks, pb.ListWebhooksRequest())
        return list(found.webhooks)

    async def replay(self, **what: Any) -> pb.ReplayWebhooksResponse:
        """As an admin, over gRPC."""
        api = await self.worker.admin()
        request = pb.ReplayWebhooksRequest(reason="test", **what)
        replayed: pb.ReplayWebhooksResponse = await api.client.call(api.admin.ReplayWebhooks, request)
        return replayed

    async def dead(self) -> int:
        return len(await self.worker.broker.dead_letters(QUEUE))


@pytest.fixture
async def replaying(tmp_path: Path) -> AsyncIterator[Replaying]:
    async with started(tmp_path, {}) as running:
        yield running


@pytest.fixture
async def replaying_on_both(tmp_path: Path, backends: Mapping[str, str]) -> AsyncIterator[Replaying]:
    async with started(tmp_path, backends) as running:
        yield running


@asynccontextmanager
async def started(tmp_path: Path, backends: Mapping[str, str]) -> AsyncIterator[Replaying]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        worker = await enter(outbound(tmp_path, **backends))

        async def token(request: Request) -> Response:
            form = dict(part.split("=") for part in (await request.body()).decode().split("&"))
            try:
                issued = await worker.token(form["username"].replace("%40", "@"), form["password"])
            except ShopError as error:
                return JSONResponse({"detail": error.message, "code": error.code}, 401)
            return JSONResponse({"access_token": issued})

        gateway = await enter(
            serve_http(Starlette(routes=[Route("/v1/auth/token", token, methods=["POST"])]), host="127.0.0.1", port=0)
        )
        receiver = await enter(run(settings_for(tmp_path, **backends)))
        http = await enter(httpx.AsyncClient(base_url=f"http://127.0.0.1:{receiver.port}", timeout=60))
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SHOP_")},
            **{f"SHOP_{name.upper()}": url for name, url in backends.items()},
            "SHOP_DATA_DIR": str(tmp_path),
            "SHOP_GATEWAY_URL": f"http://127.0.0.1:{gateway}",
            "SHOP_WEBHOOKS_ADDRESS": f"127.0.0.1:{worker.port}",
        }
        yield Replaying(worker, http, environment)


async def test_what_failed_is_replayed_after_the_fix(replaying_on_both: Replaying) -> None:
    """From the dead-letter queue to done: found by `list --failed`, replayed by id, noted, and no longer dead."""
    replaying = replaying_on_both
    replaying.worker.shop.failure = WRONG_PAYMENT
    await replaying.sends("evt_1")
    await eventually(replaying.dead)
    (failed,) = await replaying.listed("--failed")
    assert (failed["provider_event_id"], failed["status"]) == ("evt_1", "failed")
    replaying.worker.shop.failure = None

    code, output = await replaying.shop("replay", failed["id"], "--reason", "orders is back")
    assert (code, "1 replayed" in output) == (0, True), output
    await eventually(lambda: replaying.worker.shop.told)
    assert replaying.worker.shop.told == [("paid", "77", "pi_1")]
    assert await replaying.dead() == 0

    code, output = await replaying.shop("show", failed["id"], "--json")
    shown = json.loads(output)
    assert (code, shown["status"], shown["outcome"]) == (0, "processed", "applied")
    assert json.loads(shown["body"])["id"] == "evt_1"
    assert "stripe-signature" in shown["headers"]
    (audited,) = shown["replays_made"]
    assert (audited["by"], audited["reason"]) == ("1", "orders is back")
    assert audited["at"]


async def test_a_dead_letter_goes_back_or_is_dropped(replaying_on_both: Replaying) -> None:
    """`shop dead-letters replay` has the webhook processed as at first; `drop` leaves it failed, to be replayed yet."""
    replaying = replaying_on_both
    replaying.worker.shop.failure = WRONG_PAYMENT
    for number in ("1", "2"):
        await replaying.sends(f"evt_{number}", order_id=number)

    async def two_dead() -> bool:
        return await replaying.dead() == 2

    await eventually(two_dead)
    of_event = {item["event"]["data"]["provider_event_id"]: item["id"] for item in await replaying.dead_letters()}
    replaying.worker.shop.failure = None

    assert (await replaying.shop("replay", of_event["evt_1"], command="dead-letters"))[0] == 0
    await eventually(lambda: replaying.worker.shop.told == [("paid", "1", "pi_1")])
    assert (await replaying.shop("drop", of_event["evt_2"], command="dead-letters"))[0] == 0
    assert await replaying.dead_letters() == []
    assert (await replaying.shop("drop", of_event["evt_2"], command="dead-letters"))[0] == 1

    async def statuses() -> bool:
        found = {webhook.provider_event_id: webhook.status for webhook in await replaying.webhooks()}
        return found == {"evt_1": "processed", "evt_2": "failed"}

    await eventually(statuses)
    code, output = await replaying.shop("replay", "--failed")
    assert (code, "1 replayed" in output) == (0, True), output
    await eventually(lambda: len(replaying.worker.shop.told) == 2)


async def test_a_time_that_is_none_is_refused(replaying: Replaying) -> None:
    """A selection by a time outside of the years 1 to 9999 is refused as the caller's mistake."""
    with pytest.raises(ShopError) as refused:
        await replaying.replay(selection=pb.Selection(since=Timestamp(seconds=2**60)))
    assert (refused.value.code, list(refused.value.fields)) == ("INVALID_INPUT", ["since"])


async def test_a_range_is_replayed(replaying_on_both: Replaying) -> None:
    """By provider and time, failed ones only: the others are left alone, and so is what came later or elsewhere."""
    await replaying_on_both.sends("evt_good")
    await eventually(lambda: replaying_on_both.worker.shop.told)
    replaying_on_both.worker.shop.failure = WRONG_PAYMENT
    await replaying_on_both.sends("evt_bad_1")
    await replaying_on_both.sends("evt_bad_2")

    async def two_dead() -> bool:
        return await replaying_on_both.dead() == 2

    await eventually(two_dead)
    replaying_on_both.worker.shop.failure = None
    hour_ago = timestamp(datetime.now(UTC) - timedelta(hours=1))
    for other in (pb.Selection(provider="github", failed=True), pb.Selection(failed=True, until=hour_ago)):
        assert (await replaying_on_both.replay(selection=other)).webhooks == []
    replayed = await replaying_on_both.replay(selection=pb.Selection(provider="stripe", since=hour_ago, failed=True))
    assert {webhook.provider_event_id for webhook in replayed.webhooks} == {"evt_bad_1", "evt_bad_2"}
    assert not replayed.more

    async def all_processed() -> bool:
        return {webhook.status for webhook in await replaying_on_both.webhooks()} == {"processed"}

    await eventually(all_processed)
    assert len(replaying_on_both.worker.shop.told) == 3


def _told(replaying: Replaying, times: int) -> bool:
    return len(replaying.worker.shop.told) == times


async def test_what_was_processed_can_be_replayed(replaying_on_both: Replaying) -> None:
    """Named by its id, a processed webhook is processed once more, as an event of its own."""
    await replaying_on_both.sends("evt_1")
    await eventually(lambda: replaying_on_both.worker.shop.told)
    (entry,) = await replaying_on_both.webhooks()
    for times in (2, 3):
        await replaying_on_both.replay(ids=[entry.id])
        await eventually(partial(_told, replaying_on_both, times))
    assert [webhook.replays for webhook in await replaying_on_both.webhooks()] == [2]


async def test_records_show_the_payments_that_were_told_of(replaying_on_both: Replaying) -> None:
    """The audit's list has every webhook once, newest first, with its payment, where it has one."""
    replaying = replaying_on_both
    for number in range(3):
        await replaying.sends(f"evt_{number}", order_id=f"order-{number}")
    push = senders.github("push", {"ref": "refs/heads/main"}, secret=SECRETS["github"])
    assert (await replaying.http.post("/webhooks/github", content=push.body, headers=push.headers)).status_code == 200
    admin = await replaying.worker.as_user("admin@shop.test", "admin")
    found: list[pb.WebhookRecord] = []
    cursor = ""
    while True:
        page = await admin.client.call(
            admin.admin.ListWebhookRecords, pb.ListWebhookRecordsRequest(page_size=3, cursor=cursor)
        )
        found += page.records
        cursor = page.next_cursor
        if not cursor:
            break
    assert [record.webhook.provider for record in found] == ["github", "stripe", "stripe", "stripe"]
    assert not found[0].HasField("payment")
    assert [(record.payment.order_id, record.payment.payment_id) for record in found[1:]] == [
        (f"order-{number}", "pi_1") for number in (2, 1, 0)
    ]
    assert page.complete_since.ToDatetime(UTC) < datetime.now(UTC) - timedelta(days=1)
    customer = await replaying.worker.as_user("demo@shop.test", "demo")
    with pytest.raises(ShopError) as refusal:
        await customer.client.call(customer.admin.ListWebhookRecords, pb.ListWebhookRecordsRequest())
    assert refusal.value.code == "FORBIDDEN"


async def test_exit_codes_say_what_happened(replaying: Replaying) -> None:
    """1 for an id that there is not, 2 for what makes no sense or is not allowed."""
    commands = {
        ("show", "unknown"): 1,
        ("replay", "unknown"): 1,
        ("replay", "--failed"): 1,
        ("replay",): 2,
        ("list", "--provider", "acme"): 2,
        ("list", "--since", "whenever"): 2,
        ("list", "--email", "demo@shop.test"): 2,
        ("list",): 0,
    }
    ended = await asyncio.gather(*(replaying.shop(*command) for command in commands))
    assert [code for code, _ in ended] == list(commands.values())
    assert ended[-1][1] == "no webhooks\n"


async def test_only_admins_may_look(replaying: Replaying) -> None:
    """A customer may neither see nor replay what partners have sent."""
    api = await replaying.worker.customer()
    for method, request in (
        (api.admin.ListWebhooks, pb.ListWebhooksRequest()),
        (api.admin.GetWebhook, pb.GetWebhookRequest(id="x")),
        (api.admin.ReplayWebhooks, pb.ReplayWebhooksRequest(ids=["x"])),
    ):
        with pytest.raises(ShopError, match="FORBIDDEN"):
            await api.client.call(method, request)
