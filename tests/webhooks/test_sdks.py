"""The providers' own libraries against ours, in both directions and at both ends of the time window."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import standardwebhooks
import stripe

from chassis.errors import ShopError
from partners import senders
from tests.not_run import not_run
from webhooks.incoming.domain import PROVIDERS
from webhooks.outgoing.domain import Delivery, Endpoint, new_secret, rotated, signed_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = json.dumps({"id": "evt_1", "object": "event", "type": "order.paid", "data": {"grüße": "ü €"}})
# Pinned: what is fetched is run.
OCTOKIT = "@octokit/webhooks-methods@6.0.0"
WINDOW = pytest.mark.parametrize(
    ("age", "expected"),
    [(0, "authentic"), (299, "authentic"), (301, "STALE_SIGNATURE"), (-299, "authentic"), (-301, "STALE_SIGNATURE")],
)


def verdict(provider: str, body: bytes, headers: Mapping[str, str], *, now: float) -> str:
    """What we say to a request: the code of the refusal, or "authentic"."""
    one = PROVIDERS[provider]
    try:
        one.verify(body, {name.lower(): value for name, value in headers.items()}, [one.key(SECRET)], now)
    except ShopError as error:
        return error.code
    return "authentic"


@WINDOW
def test_we_accept_what_stripes_sdk_signs(age: int, expected: str) -> None:
    """A header by Stripe's own signature function is authentic within five minutes, on both sides."""
    now = int(time.time())
    stamp = now - age
    digest = stripe.WebhookSignature._compute_signature(f"{stamp}.{BODY}", SECRET)
    assert verdict("stripe", BODY.encode(), {"Stripe-Signature": f"t={stamp},v1={digest}"}, now=now) == expected


def test_stripes_sdk_accepts_what_our_partner_signs() -> None:
    """An event of the stand-in for Stripe is one for Stripe's own library; a forged or an old one is not."""
    payment = {"id": "pi_1", "object": "payment_intent"}
    sent = senders.stripe("payment_intent.succeeded", payment, secret=SECRET)
    event = stripe.Webhook.construct_event(sent.body, sent.headers["Stripe-Signature"], SECRET)
    assert (event.type, event.data.object.id) == ("payment_intent.succeeded", "pi_1")
    old = senders.stripe("payment_intent.succeeded", payment, secret=SECRET, at=time.time() - 301)
    for bad in (senders.stripe("payment_intent.succeeded", payment, secret="other"), old):
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.Webhook.construct_event(bad.body, bad.headers["Stripe-Signature"], SECRET)


@WINDOW
def test_we_accept_what_the_standard_sdk_signs(age: int, expected: str) -> None:
    """A signature by the Standard Webhooks library is authentic within five minutes, on both sides."""
    now = int(time.time())
    moment = datetime.fromtimestamp(now - age, UTC)
    signature = standardwebhooks.Webhook(SECRET).sign("msg_1", moment, BODY)
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(now - age), "webhook-signature": signature}
    assert verdict("standard", BODY.encode(), headers, now=now) == expected


@pytest.mark.parametrize(("age", "accepted"), [(0, True), (290, True), (310, False), (-290, True), (-310, False)])
def test_the_standard_sdk_accepts_what_our_partner_signs(age: int, accepted: bool) -> None:
    """A webhook of the partners' stand-in is accepted by the library within its window, on both sides."""
    sent = senders.standard("shipment.delivered", {"order_id": "77"}, secret=SECRET, at=time.time() - age)
    assert _standard_accepts(SECRET, sent.body, sent.headers) is accepted


@pytest.mark.parametrize(("age", "accepted"), [(0, True), (290, True), (310, False), (-290, True), (-310, False)])
def test_the_standard_sdk_accepts_our_deliveries(age: int, accepted: bool) -> None:
    """What we send is accepted by the library with a secret as we make them; with another secret it is not."""
    now = datetime.now(UTC)
    delivery, endpoint = _delivery(now)
    headers = signed_headers(delivery, endpoint, now - timedelta(seconds=age))
    assert _standard_accepts(endpoint.secret, delivery.body, headers) is accepted
    assert not _standard_accepts(new_secret(), delivery.body, headers)


@pytest.mark.parametrize(("age", "accepted"), [(0, True), (59, True), (60, False), (61, False)])
def test_the_standard_sdk_accepts_a_replaced_secret_for_a_while(age: int, accepted: bool) -> None:
    """During rotation the library accepts by either secret; once the time of grace is over, by the new one only."""
    now = datetime.now(UTC)
    delivery, endpoint = _delivery(now)
    anew = rotated(endpoint, now - timedelta(seconds=age), timedelta(seconds=60))
    headers = signed_headers(delivery, anew, now)
    assert _standard_accepts(anew.secret, delivery.body, headers)
    assert _standard_accepts(endpoint.secret, delivery.body, headers) is accepted


def _delivery(now: datetime) -> tuple[Delivery, Endpoint]:
    endpoint = Endpoint("we_1", "123", False, "", ["order.*"], "", new_secret(), now)
    return Delivery("msg_1", "we_1", "e1", "order.paid", "77", BODY.encode(), "", now), endpoint


def _standard_accepts(secret: str, body: bytes, headers: Mapping[str, str]) -> bool:
    try:
        standardwebhooks.Webhook(secret).verify(body, dict(headers))
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


_OCTOKIT_PROGRAM = """
import { sign, verify } from "@octokit/webhooks-methods";
const [secret, ours, signature, theirs] = process.argv.slice(2);
console.log(JSON.stringify({
  signed: await sign(secret, theirs),
  accepted: await verify(secret, ours, signature),
  acceptedForged: await verify(secret, ours + " ", signature),
}));
"""


@pytest.mark.npm
async def test_octokit_and_we_accept_each_other(tmp_path: Path) -> None:
    """GitHub's own library signs what we accept and accepts what our partner signs, and no changed byte."""
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(tmp_path)]
    code, output = await _run(tmp_path, *npm, OCTOKIT)
    if code:
        not_run("npm", f"npm cannot fetch {OCTOKIT}: {output.strip()[-100:]}")
    (tmp_path / "both.mjs").write_text(_OCTOKIT_PROGRAM)
    sent = senders.github("push", {"ref": "refs/heads/grüße"}, secret=SECRET)
    signature = sent.headers["X-Hub-Signature-256"]
    code, output = await _run(tmp_path, "node", "both.mjs", SECRET, sent.body.decode(), signature, BODY)
    assert code == 0, output
    said = json.loads(output)
    assert (said["accepted"], said["acceptedForged"]) == (True, False)
    assert verdict("github", BODY.encode(), {"X-Hub-Signature-256": said["signed"]}, now=0) == "authentic"


async def _run(folder: Path, *command: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    except TimeoutError:
        process.kill()
        await process.wait()
        return 1, f"{command[0]} took too long"
    return process.returncode or 0, output.decode(errors="replace")
