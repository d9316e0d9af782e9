"""Tokens: verified by the issuer's keys, remembered until they expire, and never believed otherwise."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from chassis.auth.identity import (
    ALGORITHM,
    ANONYMOUS,
    AUDIENCE,
    ISSUER,
    Principal,
    ServiceToken,
    TokenVerifier,
    acting_as,
    admin,
    anyone,
    bearer,
    check,
    current_principal,
    forward_caller,
    service,
    signed_in,
)
from chassis.errors import Kind, ShopError, unavailable
from services.users.tokens import JwtSigner, SigningKey, new_signing_key

OLD, NEW, FOREIGN = new_signing_key(), new_signing_key(), new_signing_key()


class Issuer:
    """Fake: publishes keys, counts its calls, and is sometimes away; its clock is the verifier's."""

    def __init__(self, *keys: SigningKey) -> None:
        self.keys = keys
        self.asked = 0
        self.away = False
        self.skipped = 0.0

    async def jwks(self) -> str:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise unavailable("users")
        return JwtSigner(self.keys, lifetime=60).jwks()

    def clock(self) -> float:
        return time.time() + self.skipped


@pytest.fixture
def issuer() -> Issuer:
    return Issuer(OLD)


@pytest.fixture
def verifier(issuer: Issuer) -> TokenVerifier:
    return TokenVerifier(issuer.jwks, clock=issuer.clock, steady=issuer.clock)


def token(key: SigningKey = OLD, *, lifetime: int = 60) -> str:
    return JwtSigner([key], lifetime=lifetime).sign("u1", "customer")[0]


def claims(**changes: object) -> dict[str, Any]:
    """A token's claims; what is None is left out."""
    now = int(time.time())
    found = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "role": "admin", "iat": now, "exp": now + 60, **changes}
    return {name: value for name, value in found.items() if value is not None}


def signed(payload: dict[str, Any], *, kid: str = OLD.id, **header: object) -> str:
    """A token that the right key has signed, whatever it says."""
    private = Ed25519PrivateKey.from_private_bytes(OLD.seed)
    return jwt.encode(payload, private, ALGORITHM, headers={"kid": kid, **header})


async def refused(verifier: TokenVerifier, wrong: str) -> bool:
    with pytest.raises(ShopError) as refusal:
        await verifier.verify(wrong)
    return refusal.value.code == "INVALID_TOKEN" and refusal.value.kind is Kind.UNAUTHENTICATED


class TestVerifying:
    async def test_valid_token_names_its_caller(self, verifier: TokenVerifier) -> None:
        """A token of the issuer says who is calling, as what, and until when."""
        principal = await verifier.verify(mine := token())
        assert (principal.subject, principal.role, principal.token) == ("u1", "customer", mine)
        assert principal.expires_at == pytest.approx(time.time() + 60, abs=2)

    async def test_keys_are_fetched_once(self, verifier: TokenVerifier, issuer: Issuer) -> None:
        """However many tokens come at once, the keys are fetched once."""
        await asyncio.gather(*(verifier.verify(token(lifetime=60 + number)) for number in range(20)))
        assert issuer.asked == 1

    async def test_remembered_token_expires_all_the_same(self, verifier: TokenVerifier, issuer: Issuer) -> None:
        """A token that was verified once is refused from the second on at which it expires."""
        mine = token(lifetime=60)
        await verifier.verify(mine)
        issuer.skipped = 58
        await verifier.verify(mine)
        issuer.skipped = 61
        assert await refused(verifier, mine)

    @pytest.mark.parametrize(
        "payload",
        [
            claims(aud="another"), claims(aud=None), claims(iss="https://evil.test"), claims(iss=None),
            claims(exp=None), claims(iat=None), claims(sub=None), claims(sub=7), claims(exp=int(time.time()) - 1),
            claims(exp="soon"), claims(exp=float("nan")), claims(exp=float("inf")), claims(exp=[60]),
            claims(nbf=int(time.time()) + 3_600),
        ],
    )  # fmt: skip
    async def test_wrong_claims(self, verifier: TokenVerifier, payload: dict[str, Any]) -> None:
        """A well-signed token for another audience, by another issuer, out of its time or incomplete is refused."""
        assert await refused(verifier, signed(payload))

    async def test_foreign_signature(self, verifier: TokenVerifier) -> None:
        """A key that is not the issuer's does not become so by its name."""
        private = Ed25519PrivateKey.from_private_bytes(FOREIGN.seed)
        assert await refused(verifier, jwt.encode(claims(), private, ALGORITHM, headers={"kid": OLD.id}))

    async def test_public_key_is_no_secret(self, verifier: TokenVerifier, issuer: Issuer) -> None:
        """A token signed by HMAC with the public key as the secret is refused: the algorithm is ours to choose."""
        public = json.loads(await issuer.jwks())["keys"][0]["x"]
        raw = base64.urlsafe_b64decode(public + "=")
        for secret in (public, raw, json.dumps({"x": public})):
            assert await refused(verifier, jwt.encode(claims(), secret, "HS256", headers={"kid": OLD.id}))

    @pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS256", "EdDSA"])
    async def test_unsigned_token(self, verifier: TokenVerifier, algorithm: str) -> None:
        """A token without a signature is refused whatever algorithm it names."""
        parts = [json.dumps({"alg": algorithm, "kid": OLD.id}), json.dumps(claims())]
        unsigned = ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts) + "."
        assert await refused(verifier, unsigned)

    @pytest.mark.parametrize("kid", ["", "unknown", "../../etc/passwd", None, 7])
    async def test_unknown_or_missing_key(self, verifier: TokenVerifier, kid: object) -> None:
        """A token that names no key, or none of the issuer's, is refused."""
        parts = [json.dumps({"alg": ALGORITHM, "kid": kid}), json.dumps(claims()), "signature"]
        crafted = ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)
        assert await refused(verifier, crafted)

    @given(st.text(max_size=60) | st.lists(st.binary(max_size=40), min_size=3, max_size=3))
    async def test_no_token_at_all(self, made_up: str | list[bytes]) -> None:
        """Whatever is sent as a token is refused, never a failure of ours."""
        if isinstance(made_up, list):
            made_up = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in made_up)
        assert await refused(TokenVerifier(Issuer(OLD).jwks), made_up)

    @pytest.mark.parametrize("header", ["[" * 3_000, '{"a":' * 3_000, "[" * 3_000 + "]" * 3_000, "1" * 5_000])
    async def test_hostile_header(self, verifier: TokenVerifier, header: str) -> None:
        """A header made to exhaust the parser is refused like any other."""
        assert await refused(verifier, base64.urlsafe_b64encode(header.encode()).decode().rstrip("=") + ".e30.e30")


class TestRotation:
    async def test_new_key_needs_no_restart(self, verifier: TokenVerifier, issuer: Issuer) -> None:
        """A token by a key that the issuer has added since is accepted, and the old key's tokens stay valid."""
        await verifier.verify(token(OLD))
        issuer.keys, issuer.skipped = (NEW, OLD), 6
        assert (await verifier.verify(token(NEW))).subject == "u1"
        await verifier.verify(token(OLD))
        assert issuer.asked == 2

    async def test_unknown_keys_are_asked_for_every_five_seconds_at_most(
        self, verifier: TokenVerifier, issuer: Issuer
    ) -> None:
        """A flood of tokens by unknown keys does not become a flood of questions to the issuer."""
        for seconds in (0, 1, 4.9, 5.1, 9, 10.3):
            issuer.skipped = seconds
            assert await refused(verifier, token(FOREIGN))
        assert issuer.asked == 3

    async def test_withdrawn_keys_tokens_are_forgotten(self, verifier: TokenVerifier, issuer: Issuer) -> None:
        """Once a key is gone from the issuer's set, what it signed is refused, remembered or not."""
        await verifier.verify(token(OLD))
        issuer.keys, issuer.skipped = (NEW,), 6
        await verifier.verify(token(NEW))
        assert await refused(verifier, token(OLD))

    async def test_issuer_that_is_away(self, verifier: TokenVerifier, issuer: Issuer) -> None:
        """Without keys no token can be verified, which is no fault of the token; afterwards all is well."""
        issuer.away = True
        with pytest.raises(ShopError, match="UPSTREAM_UNAVAILABLE"):
            await verifier.verify(token())
        issuer.away = False
        assert (await verifier.verify(token())).subject == "u1"

    async def test_known_callers_outlive_the_issuer(self, verifier: TokenVerifier, issuer: Issuer) -> None:
        """While the issuer is away its known keys are good for new tokens too."""
        await verifier.verify(token())
        issuer.away = True
        assert (await verifier.verify(token(lifetime=50))).subject == "u1"


class TestClock:
    """A clock that is set, by NTP for one, refuses no caller."""

    async def test_remembered_token_expires_in_time_when_the_clock_is_set_back(self, issuer: Issuer) -> None:
        """What is remembered of a token is remembered no longer than the token had left."""
        passed = 0.0
        verifier = TokenVerifier(issuer.jwks, clock=lambda: time.time() - 60 * passed, steady=lambda: passed)
        known = token(lifetime=60)
        await verifier.verify(known)
        passed = 61
        assert await refused(verifier, known)

    async def test_token_is_good_though_the_clock_was_set_back_behind_its_issue(self, verifier: TokenVerifier) -> None:
        """When a token was issued decides nothing: a verifier's clock that is ten minutes behind refuses no new one."""
        principal = await verifier.verify(signed(claims(iat=int(time.time()) + 600, exp=int(time.time()) + 660)))
        assert principal.subject == "u1"

    async def test_rotated_key_is_fetched_after_the_clock_was_set_back(self, issuer: Issuer) -> None:
        """A key set may be fetched again five seconds later, whatever the clock says."""
        passed = 0.0
        verifier = TokenVerifier(issuer.jwks, clock=lambda: time.time() - 600 * passed, steady=lambda: passed)
        await verifier.verify(token(OLD))
        issuer.keys, passed = (NEW, OLD), 6
        assert (await verifier.verify(token(NEW))).subject == "u1"

    @pytest.mark.parametrize("seconds", [-3_600, 3_600])
    async def test_processes_token_is_renewed_when_the_clock_was_set(
        self, monkeypatch: pytest.MonkeyPatch, seconds: float
    ) -> None:
        """To a clock that was set, a process's token has expired or is of the future, so it gets another."""
        issued: list[str] = []

        async def issue() -> tuple[str, float]:
            issued.append(f"token {len(issued)}")
            return issued[-1], 600

        source = ServiceToken(issue)
        assert [await source(), await source()] == ["token 0", "token 0"]
        right = time.time
        monkeypatch.setattr(time, "time", lambda: right() + seconds)
        assert [await source(), await source()] == ["token 1", "token 1"]


CALLERS = {
    "nobody": ANONYMOUS,
    "customer": Principal("u1", "customer"),
    "admin": Principal("a1", "admin"),
    "webhooks": Principal("webhooks", "service"),
    "namesake": Principal("webhooks", "customer"),
}


class TestRules:
    @pytest.mark.parametrize(
        ("rule", "allowed"),
        [
            (anyone, set(CALLERS)),
            (signed_in, set(CALLERS) - {"nobody"}),
            (admin, {"admin"}),
            (service("webhooks"), {"webhooks"}),
            (service("orders"), set()),
            (service(), {"webhooks"}),
        ],
    )
    def test_who_may(self, rule: Any, allowed: set[str]) -> None:
        """Each rule admits whom it names: a user called like a process is no process."""
        assert {name for name, caller in CALLERS.items() if rule(caller)} == allowed

    def test_refusals_distinguish_a_missing_token_from_a_weak_one(self) -> None:
        """A call without a token is UNAUTHENTICATED; one whose token does not suffice is FORBIDDEN."""
        with pytest.raises(ShopError, match="UNAUTHENTICATED"):
            check(admin, ANONYMOUS)
        with pytest.raises(ShopError, match="FORBIDDEN"):
            check(admin, CALLERS["customer"])

    @pytest.mark.parametrize(
        ("header", "found"),
        [
            ("Bearer x", "x"),
            ("bearer x", "x"),
            ("Bearer  x ", "x"),
            ("Basic x", ""),
            ("Bearer", ""),
            ("", ""),
            (None, ""),
        ],
    )
    def test_bearer(self, header: str | None, found: str) -> None:
        """The token of an `Authorization` header is what stands after `Bearer`, in any case (RFC 6750, RFC 9110)."""
        assert bearer(header) == found

    async def test_caller_goes_on_only_inside_the_call(self) -> None:
        """What is called on behalf of a caller carries their token, and nothing does afterwards."""
        with acting_as(Principal("u1", "customer", "t")):
            assert await forward_caller() == "t"
        assert (await forward_caller(), current_principal()) == ("", ANONYMOUS)


class TestServiceToken:
    async def test_is_asked_for_once_and_renewed_in_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A process's own token is shared by all its calls, and replaced when four fifths of its life are over."""
        issued: list[str] = []
        now = [0.0]

        async def issue() -> tuple[str, float]:
            await asyncio.sleep(0)
            issued.append(f"t{len(issued)}")
            return issued[-1], 100.0

        monkeypatch.setattr("chassis.auth.identity.time", SimpleNamespace(monotonic=lambda: now[0], time=time.time))
        source = ServiceToken(issue)
        assert set(await asyncio.gather(*(source() for _ in range(10)))) == {"t0"}
        now[0] = 79.0
        assert await source() == "t0"
        now[0] = 81.0
        assert await source() == "t1"

    async def test_valid_token_is_used_while_its_issuer_is_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is left of its life bridges an absence; once it has expired, the failure is the caller's."""
        answers: list[Exception | tuple[str, float]] = [("t", 100.0), unavailable("users"), unavailable("users")]
        now = time.time()

        async def issue() -> tuple[str, float]:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        clock = SimpleNamespace(monotonic=lambda: now, time=time.time)
        monkeypatch.setattr("chassis.auth.identity.time", clock)
        monkeypatch.setattr(time, "time", lambda: now)
        source = ServiceToken(issue)
        assert await source() == "t"
        now += 85
        assert [await source(), await source()] == ["t", "t"]
        assert len(answers) == 1
        now += 20
        with pytest.raises(ShopError, match="users"):
            await source()

    async def test_failure_is_not_remembered(self) -> None:
        """An issuer that was away is called again by the next call."""
        answers: list[Exception | tuple[str, float]] = [unavailable("users"), ("t", 100.0)]

        async def issue() -> tuple[str, float]:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        source = ServiceToken(issue)
        with pytest.raises(ShopError):
            await source()
        assert await source() == "t"
