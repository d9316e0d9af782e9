"""An endpoint's secret is replaced while deliveries go on: for a while each of them is signed by both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import standardwebhooks

from chassis.errors import ShopError
from protos.shop.webhooks.v1 import webhooks_pb2 as pb
from tests.waiting import eventually
from tests.webhooks.outbound import Api, Partner, Received, outbound, partner


@pytest.fixture
async def theirs() -> AsyncIterator[Partner]:
    async with partner() as receiver:
        yield receiver


async def rotated(api: Api, endpoint_id: str) -> pb.RotateSecretResponse:
    answer: pb.RotateSecretResponse = await api.client.call(
        api.endpoints.RotateSecret, pb.RotateSecretRequest(id=endpoint_id)
    )
    return answer


def accepts(secret: str, request: Received) -> bool:
    """Whether a receiver that has this secret alone accepts the request."""
    try:
        standardwebhooks.Webhook(secret).verify(request.body, request.headers)
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


async def test_both_secrets_sign_for_a_while(tmp_path: Path, theirs: Partner, database_url: str) -> None:
    """A receiver that has the old secret accepts what comes, and so does one that has the new one; for a day."""
    async with outbound(tmp_path, database_url=database_url) as ours:
        api = await ours.customer()
        created = await api.register(f"{theirs.url}/hook")
        answer = await rotated(api, created.endpoint.id)
        assert answer.endpoint == created.endpoint
        left = answer.old_secret_until.ToDatetime(UTC) - datetime.now(UTC)
        assert timedelta(hours=23, minutes=59) < left <= timedelta(hours=24)
        await ours.happens()
        (request,) = await eventually(lambda: theirs.requests)
        assert accepts(created.secret, request)
        assert accepts(answer.secret, request)
        assert len(request.headers["webhook-signature"].split(" ")) == 2
        shown = await api.endpoint(created.endpoint.id)
        assert answer.secret not in str(shown)


async def test_then_the_old_one_signs_no_more(tmp_path: Path, theirs: Partner) -> None:
    """After its time of grace the replaced secret is of no use."""
    async with outbound(tmp_path, webhooks_secret_grace=0.0) as ours:
        api = await ours.customer()
        created = await api.register(f"{theirs.url}/hook")
        answer = await rotated(api, created.endpoint.id)
        await ours.happens()
        (request,) = await eventually(lambda: theirs.requests)
        assert not accepts(created.secret, request)
        assert accepts(answer.secret, request)


async def test_replaced_secrets_are_bounded(tmp_path: Path, theirs: Partner) -> None:
    """Four replaced secrets may sign at a time; all five signatures are there, and a fifth replacement is refused."""
    async with outbound(tmp_path) as ours:
        api = await ours.customer()
        created = await api.register(f"{theirs.url}/hook")
        known = [created.secret] + [(await rotated(api, created.endpoint.id)).secret for _ in range(4)]
        with pytest.raises(ShopError, match="TOO_MANY_SECRETS"):
            await rotated(api, created.endpoint.id)
        await ours.happens()
        (request,) = await eventually(lambda: theirs.requests)
        assert all(accepts(secret, request) for secret in known)


async def test_of_two_at_once_none_gets_a_secret_that_does_not_sign(
    tmp_path: Path, theirs: Partner, database_url: str
) -> None:
    """A secret that was returned is valid, though others request one at the same time; those get an error."""
    async with outbound(tmp_path, database_url=database_url) as ours:
        api = await ours.customer()
        created = await api.register(f"{theirs.url}/hook")
        answers = await asyncio.gather(*(rotated(api, created.endpoint.id) for _ in range(4)), return_exceptions=True)
        told = [answer.secret for answer in answers if isinstance(answer, pb.RotateSecretResponse)]
        refused = [answer.code for answer in answers if isinstance(answer, ShopError)]
        assert len(told) + len(refused) == 4
        assert told
        assert set(refused) <= {"ROTATED_MEANWHILE"}
        await ours.happens()
        (request,) = await eventually(lambda: theirs.requests)
        assert all(accepts(secret, request) for secret in told)


async def test_another_customers_secret_is_not_replaced(tmp_path: Path) -> None:
    """Another customer's endpoint is not found, and keeps its secret."""
    async with outbound(tmp_path) as ours:
        created = await (await ours.customer()).register("http://127.0.0.1:9/")
        with pytest.raises(ShopError, match="NOT_FOUND"):
            await rotated(await ours.as_user("customer2@shop.test"), created.endpoint.id)
