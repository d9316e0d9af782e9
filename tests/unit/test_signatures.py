"""The four signature schemes: published vectors, the edges of the time window, rotation, and what is no signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import Kind, ShopError
from partners import senders
from webhooks import signatures
from webhooks.incoming.domain import PROVIDERS

NOW = 1_800_000_000
SECRETS = {
    "stripe": "whsec_stripe",
    "github": "It's a Secret to Everybody",
    "shopify": "hush",
    "standard": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}
OTHER = "whsec_b3RoZXIga2V5IG9mIG9uY2U="

STANDARD_BODY = b'{"test": 2432232314}'
STANDARD_HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
STANDARD_TIME = 1614265330

Sign = Callable[[str, float], senders.SignedWebhook]
BUILD: Mapping[str, Sign] = {
    "stripe": lambda secret, at: senders.stripe("payment_intent.succeeded", {"id": "pi_1"}, secret=secret, at=at),
    "github": lambda secret, _: senders.github("push", {"ref": "main"}, secret=secret),
    "shopify": lambda secret, _: senders.shopify("orders/create", {"id": 1}, secret=secret),
    "standard": lambda secret, at: senders.standard("shipment.delivered", {"id": 1}, secret=secret, at=at),
}
EVERY_SCHEME = pytest.mark.parametrize("provider", sorted(BUILD))
TIMED_SCHEME = pytest.mark.parametrize("provider", ["standard", "stripe"])


def keys(provider: str, *secrets: str) -> list[bytes]:
    return [PROVIDERS[provider].key(secret) for secret in secrets]


def lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def verdict(provider: str, body: bytes, headers: Mapping[str, str], *secrets: str, now: float = NOW) -> str:
    """The code of the refusal, or "authentic"."""
    try:
        PROVIDERS[provider].verify(body, lowered(headers), keys(provider, *(secrets or (SECRETS[provider],))), now)
    except ShopError as error:
        return error.code
    return "authentic"


def test_standard_webhooks_published_vector() -> None:
    """The specification's own example is authentic."""
    assert verdict("standard", STANDARD_BODY, STANDARD_HEADERS, now=STANDARD_TIME) == "authentic"


def test_github_published_vector() -> None:
    """The example of GitHub's documentation is authentic."""
    headers = {"X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
    assert verdict("github", b"Hello, World!", headers) == "authentic"


@EVERY_SCHEME
def test_what_a_partner_signs_is_authentic(provider: str) -> None:
    """Each scheme accepts what the independent sender of its provider has signed."""
    sent = BUILD[provider](SECRETS[provider], NOW)
    assert verdict(provider, sent.body, sent.headers) == "authentic"


@EVERY_SCHEME
def test_one_changed_byte_is_refused(provider: str) -> None:
    """A body that differs in one byte from what was signed is refused."""
    sent = BUILD[provider](SECRETS[provider], NOW)
    assert verdict(provider, sent.body + b" ", sent.headers) == "BAD_SIGNATURE"
    assert verdict(provider, b"[" + sent.body[1:], sent.headers) == "BAD_SIGNATURE"


@EVERY_SCHEME
def test_a_foreign_secret_is_refused(provider: str) -> None:
    """What was signed with another secret is refused."""
    sent = BUILD[provider](OTHER, NOW)
    assert verdict(provider, sent.body, sent.headers) == "BAD_SIGNATURE"


@EVERY_SCHEME
def test_both_secrets_count_during_rotation(provider: str) -> None:
    """While a secret is rotated, the old and the new one are accepted, in whichever order they are configured."""
    for signing in (SECRETS[provider], OTHER):
        sent = BUILD[provider](signing, NOW)
        assert verdict(provider, sent.body, sent.headers, SECRETS[provider], OTHER) == "authentic"
        assert verdict(provider, sent.body, sent.headers, OTHER, SECRETS[provider]) == "authentic"


@EVERY_SCHEME
def test_no_signature_is_refused(provider: str) -> None:
    """A request without the scheme's header is unauthenticated, not an error of form."""
    assert verdict(provider, b"{}", {}) == "BAD_SIGNATURE"


@TIMED_SCHEME
@pytest.mark.parametrize(
    ("age", "expected"),
    [(0, "authentic"), (300, "authentic"), (301, "STALE_SIGNATURE"), (-300, "authentic"), (-301, "STALE_SIGNATURE")],
)
def test_the_time_window_has_two_sides(provider: str, age: int, expected: str) -> None:
    """Five minutes old or ahead is accepted to the second, one second more is not."""
    sent = BUILD[provider](SECRETS[provider], NOW - age)
    assert verdict(provider, sent.body, sent.headers) == expected


@TIMED_SCHEME
def test_an_old_forgery_is_a_forgery(provider: str) -> None:
    """A sender without the secret does not learn that only the time was wrong."""
    sent = BUILD[provider](OTHER, NOW - 900)
    assert verdict(provider, sent.body, sent.headers) == "BAD_SIGNATURE"


def test_stripe_signs_with_several_secrets_at_once() -> None:
    """One authentic v1 among several is enough, and other versions are passed over."""
    sent = BUILD["stripe"](SECRETS["stripe"], NOW)
    stamp, _, good = sent.headers["Stripe-Signature"].partition(",")
    header = f"{stamp},v1={'0' * 64},{good},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39"
    assert verdict("stripe", sent.body, {"Stripe-Signature": header}) == "authentic"


def test_stripe_v0_alone_is_malformed() -> None:
    """The version of test events without a secret counts for nothing."""
    sent = BUILD["stripe"](SECRETS["stripe"], NOW)
    header = sent.headers["Stripe-Signature"].replace("v1=", "v0=")
    assert verdict("stripe", sent.body, {"Stripe-Signature": header}) == "MALFORMED_SIGNATURE"


def test_standard_signs_with_several_secrets_at_once() -> None:
    """One authentic v1 among several is enough, and asymmetric signatures are passed over."""
    header = f"v1a,AAAA v1,BBBB {STANDARD_HEADERS['webhook-signature']}"
    headers = {**STANDARD_HEADERS, "webhook-signature": header}
    assert verdict("standard", STANDARD_BODY, headers, now=STANDARD_TIME) == "authentic"
    headers["webhook-signature"] = "v1a," + STANDARD_HEADERS["webhook-signature"].removeprefix("v1,")
    assert verdict("standard", STANDARD_BODY, headers, now=STANDARD_TIME) == "BAD_SIGNATURE"


def test_standard_signs_the_id_too() -> None:
    """A recorded request under another event id is refused."""
    headers = {**STANDARD_HEADERS, "webhook-id": "msg_other"}
    assert verdict("standard", STANDARD_BODY, headers, now=STANDARD_TIME) == "BAD_SIGNATURE"


@pytest.mark.parametrize(
    ("provider", "headers"),
    [
        ("stripe", {"Stripe-Signature": "rubbish"}),
        ("stripe", {"Stripe-Signature": "v1=00"}),
        ("stripe", {"Stripe-Signature": "t=now,v1=00"}),
        ("stripe", {"Stripe-Signature": "t=1_800_000_000,v1=00"}),
        ("stripe", {"Stripe-Signature": f"t={NOW},t={NOW},v1=00"}),
        ("stripe", {"Stripe-Signature": f"t={NOW}"}),
        ("github", {"X-Hub-Signature-256": "sha1=00"}),
        ("standard", {**STANDARD_HEADERS, "webhook-signature": "rubbish"}),
        ("standard", {**STANDARD_HEADERS, "webhook-timestamp": "soon"}),
        ("standard", {**STANDARD_HEADERS, "webhook-timestamp": "1614265330.5"}),
        ("standard", {**STANDARD_HEADERS, "webhook-id": ""}),
    ],
)
def test_what_has_not_the_form_of_a_signature_is_malformed(provider: str, headers: dict[str, str]) -> None:
    """A header without the scheme's form has another code than a signature that does not match."""
    assert verdict(provider, STANDARD_BODY, headers, now=STANDARD_TIME) == "MALFORMED_SIGNATURE"


def refusal(provider: str, headers: Mapping[str, str], now: float = STANDARD_TIME) -> ShopError:
    with pytest.raises(ShopError) as raised:
        PROVIDERS[provider].verify(STANDARD_BODY, lowered(headers), keys(provider, SECRETS[provider]), now)
    return raised.value


MALFORMED = [
    ("stripe", {"Stripe-Signature": "v1=00"}, "stripe-signature needs one t="),
    ("stripe", {"Stripe-Signature": "t=now,v1=00"}, "stripe-signature needs a time in Unix seconds"),
    ("stripe", {"Stripe-Signature": "t=1=2,v1=00"}, "stripe-signature needs a time in Unix seconds"),
    ("stripe", {"Stripe-Signature": f"t={NOW}"}, "stripe-signature needs a v1="),
    ("github", {"X-Hub-Signature-256": "sha1=00"}, "x-hub-signature-256 begins with sha256="),
    (
        "standard",
        {**STANDARD_HEADERS, "webhook-signature": "rubbish"},
        "webhook-signature is a list of <version>,<signature>",
    ),
    (
        "standard",
        {name: value for name, value in STANDARD_HEADERS.items() if name != "webhook-id"},
        "webhook-id is missing",
    ),
    (
        "standard",
        {name: value for name, value in STANDARD_HEADERS.items() if name != "webhook-timestamp"},
        "webhook-timestamp needs a time in Unix seconds",
    ),
]


@pytest.mark.parametrize(("provider", "headers", "why"), MALFORMED)
def test_a_malformed_signature_says_what_it_lacks(provider: str, headers: dict[str, str], why: str) -> None:
    """The header and the form that it needs; a client's fault."""
    error = refusal(provider, headers)
    assert (error.code, error.message, error.kind) == ("MALFORMED_SIGNATURE", why, Kind.INVALID)


@EVERY_SCHEME
def test_a_signature_that_does_not_match_says_so(provider: str) -> None:
    """None at all, and one of another secret: the caller is not known."""
    missing = refusal(provider, {"webhook-id": "1", "webhook-timestamp": "1"})
    assert (missing.code, missing.kind) == ("BAD_SIGNATURE", Kind.UNAUTHENTICATED)
    assert missing.message.startswith("the request has no ")
    foreign = BUILD[provider](OTHER, STANDARD_TIME)
    error = refusal(provider, foreign.headers)
    assert (error.code, error.kind) == ("BAD_SIGNATURE", Kind.UNAUTHENTICATED)
    assert error.message == "the signature was not made with a secret that we share"


@TIMED_SCHEME
@pytest.mark.parametrize(("late", "said"), [(301, "301 s old"), (-301, "301 s ahead of the receiver's clock")])
def test_a_stale_signature_says_how_far_off_it_is(provider: str, late: int, said: str) -> None:
    """In seconds, in either direction, with the limit."""
    signed = BUILD[provider](SECRETS[provider], NOW)
    with pytest.raises(ShopError) as raised:
        PROVIDERS[provider].verify(signed.body, lowered(signed.headers), keys(provider, SECRETS[provider]), NOW + late)
    error = raised.value
    assert (error.code, error.kind) == ("STALE_SIGNATURE", Kind.UNAUTHENTICATED)
    assert error.message == f"the signature is {said}; the limit is 300 s either way"


def test_the_form_of_a_signature_is_strict() -> None:
    """What follows the first "=" is the signature, only a blank ends one, and a time may have twelve digits."""
    assert verdict("github", b"", {"X-Hub-Signature-256": "sha256=0=0"}) == "BAD_SIGNATURE"
    assert verdict("stripe", b"", {"Stripe-Signature": f"t={'9' * 12},v1=00"}) == "BAD_SIGNATURE"
    assert verdict("stripe", b"", {"Stripe-Signature": f"t={'9' * 13},v1=00"}) == "MALFORMED_SIGNATURE"
    tabbed = {**STANDARD_HEADERS, "webhook-signature": f"v1,AAAA\t{STANDARD_HEADERS['webhook-signature']}"}
    assert verdict("standard", STANDARD_BODY, tabbed, now=STANDARD_TIME) == "BAD_SIGNATURE"


@EVERY_SCHEME
@given(header=st.text(st.characters(max_codepoint=255)), body=st.binary())
def test_nothing_but_a_signature_is_authentic(provider: str, header: str, body: bytes) -> None:
    """Whatever stands in the header and the body, the answer is one of the three refusals."""
    name = {"github": "x-hub-signature-256", "shopify": "x-shopify-hmac-sha256"}.get(provider, f"{provider}-signature")
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(NOW), "webhook-signature": header, name: header}
    assert verdict(provider, body, headers) in {"MALFORMED_SIGNATURE", "BAD_SIGNATURE"}


@pytest.mark.parametrize("secret", ["whsec_not base64", "whsec_abc", f"{SECRETS['standard']}!"])
def test_a_standard_secret_is_base64(secret: str) -> None:
    """A secret that cannot be one is refused when it is read, not at the first webhook."""
    with pytest.raises(ValueError, match=r"^a Standard Webhooks secret is base64, after an optional whsec_$"):
        signatures.standard_key(secret)
