"""OAuth 2.1 for agents: a registered program gets a code by the user's consent, and a token for /mcp by the code."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
import pytest

from tests.consent import Form, answered
from tests.gateway.conftest import StartShop
from tests.gateway.fakes import Shop

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
REDIRECT = "http://127.0.0.1:33418/callback"
USER = {"email": "demo@shop.test", "password": "demo"}
HUGE = "x" * 5_000


def base(shop: Shop) -> str:
    return str(shop.client.base_url).rstrip("/")


async def register(shop: Shop, *redirect_uris: str, **more: Any) -> httpx.Response:
    metadata = {"redirect_uris": redirect_uris or (REDIRECT,), "client_name": "An agent", **more}
    return await shop.client.post("/oauth/register", json=metadata)


async def asked(shop: Shop, **changes: str | None) -> dict[str, str]:
    """The parameters of an authorization request; None leaves one out."""
    parameters = {
        "response_type": "code",
        "client_id": (await register(shop)).json()["client_id"],
        "redirect_uri": REDIRECT,
        "state": "a state & more",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "resource": f"{base(shop)}/mcp",
        **changes,
    }
    return {name: value for name, value in parameters.items() if value is not None}


async def submit(shop: Shop, fields: dict[str, str], **headers: str) -> httpx.Response:
    return await shop.client.post("/oauth/authorize", data=fields, headers={"origin": base(shop), **headers})


async def consented(shop: Shop) -> dict[str, str]:
    """The parameters of a token request, with a code that is valid."""
    parameters = await asked(shop)
    code = answered(await submit(shop, {**parameters, **USER, "answer": "allow"}))["code"]
    return {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": parameters["client_id"],
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
        "resource": parameters["resource"],
    }


async def redeem(shop: Shop, given: dict[str, str]) -> httpx.Response:
    return await shop.client.post("/oauth/token", data=given)


def refused(response: httpx.Response, error: str) -> None:
    assert (response.status_code, response.json()["error"]) == (400, error)
    assert response.headers["cache-control"] == "no-store"


async def test_a_user_lets_an_agent_act(shop: Shop) -> None:
    """Page, consent, code and token: the answer has the state and the issuer, the token the MCP server's audience."""
    parameters = await asked(shop)
    page = await shop.client.get("/oauth/authorize", params=parameters)
    assert page.status_code == 200
    form = Form(page.text)
    assert form.fields == parameters
    answer = await shop.client.post(form.action, data={**form.fields, **USER, "answer": "allow"}, headers=origin(shop))
    assert answer.headers["location"].startswith(f"{REDIRECT}?")
    told = answered(answer)
    assert (told["state"], told["iss"]) == ("a state & more", base(shop))
    issued = await redeem(
        shop,
        {
            "grant_type": "authorization_code",
            "code": told["code"],
            "client_id": parameters["client_id"],
            "redirect_uri": REDIRECT,
            "code_verifier": VERIFIER,
        },
    )
    assert issued.status_code == 200
    assert issued.json()["token_type"] == "Bearer"
    claims = jwt.decode(issued.json()["access_token"], options={"verify_signature": False})
    assert (claims["aud"], claims["sub"], claims["role"]) == ("shop/mcp", "123", "customer")


def origin(shop: Shop) -> dict[str, str]:
    return {"origin": base(shop)}


async def test_the_page_runs_nothing_and_leaks_nothing(shop: Shop) -> None:
    """No script, no frame, nothing from elsewhere, no cache; what the client calls itself is text, not markup."""
    client = (await register(shop, client_name="<script>alert(1)</script>\u00e9")).json()["client_id"]
    page = await shop.client.get("/oauth/authorize", params=await asked(shop, client_id=client, state='"><b>'))
    assert Form(page.text).tags.isdisjoint({"script", "b", "img", "iframe", "a"})
    assert "&lt;script&gt;" in page.text
    assert "127.0.0.1:33418" in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self' http://127.0.0.1:33418" in policy
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "same-origin"


async def test_the_metadata_names_what_there_is(shop: Shop) -> None:
    """RFC 8414: each endpoint that is named answers, PKCE is S256 alone, and the issuer comes with each answer."""
    found = (await shop.client.get("/.well-known/oauth-authorization-server")).json()
    assert found["issuer"] == base(shop)
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["grant_types_supported"] == ["authorization_code"]
    assert found["authorization_response_iss_parameter_supported"] is True
    assert (await shop.client.get(found["authorization_endpoint"])).status_code == 400
    for endpoint in ("token_endpoint", "registration_endpoint"):
        assert "error" in (await shop.client.post(found[endpoint])).json()


async def test_a_user_says_no(shop: Shop) -> None:
    """The client is told so, without a password."""
    told = answered(await submit(shop, {**await asked(shop), "answer": "deny"}))
    assert (told["error"], told["state"], told["iss"]) == ("access_denied", "a state & more", base(shop))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge": "=" * 43}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"resource": "https://elsewhere.test/mcp"}, "invalid_target"),
        ({"resource": "http://[broken"}, "invalid_target"),
        ({"state": HUGE}, "invalid_request"),
        ({"scope": HUGE}, "invalid_request"),
    ],
    ids=lambda value: "-".join(f"{k}={str(v)[:12]}" for k, v in value.items()) if isinstance(value, dict) else value,
)
async def test_a_bad_request_of_a_known_client(shop: Shop, changes: dict[str, str | None], error: str) -> None:
    """The client gets OAuth's error at its redirect URI, before and after the form; no code is given."""
    parameters = await asked(shop, **changes)
    allowed = answered(await submit(shop, {**parameters, **USER, "answer": "allow"}))
    assert (allowed["error"], allowed["iss"], "code" in allowed) == (error, base(shop), False)
    if changes != {"code_challenge": "=" * 43}:  # what it is made of is looked at when it is kept
        assert answered(await shop.client.get("/oauth/authorize", params=parameters))["error"] == error


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": None},
        {"client_id": "unknown"},
        {"client_id": HUGE},
        {"redirect_uri": None},
        {"redirect_uri": "https://attacker.test/callback"},
        {"redirect_uri": "http://127.0.0.1:33418/callback/"},
        {"redirect_uri": "http://127.0.0.1:33418/callback?more"},
        {"redirect_uri": "http://127.0.0.1:33418@attacker.test/callback"},
        {"redirect_uri": "http://127.0.0.1.attacker.test/callback"},
        {"redirect_uri": "http://localhost:33418/callback"},
        {"redirect_uri": HUGE},
    ],
    ids=lambda changes: "-".join(f"{name}={str(value)[:48]}" for name, value in changes.items()),
)
async def test_whom_nobody_knows_is_sent_nothing(shop: Shop, changes: dict[str, str | None]) -> None:
    """An unknown client, or a redirect URI that is not exactly the client's: a page says so, and nothing redirects."""
    parameters = await asked(shop, **changes)
    for response in (
        await shop.client.get("/oauth/authorize", params=parameters),
        await submit(shop, {**parameters, **USER, "answer": "allow"}),
    ):
        assert response.status_code == 400
        assert response.headers["content-type"].startswith("text/html")
        assert "location" not in response.headers


async def test_a_parameter_that_is_there_twice(shop: Shop) -> None:
    """What could be read in two ways is refused (RFC 6749, section 3.1)."""
    query = urlencode([*(await asked(shop)).items(), ("redirect_uri", "https://attacker.test/")])
    assert (await shop.client.get(f"/oauth/authorize?{query}")).status_code == 400
    query = urlencode([*(await asked(shop)).items(), ("code_challenge", "x" * 43)])
    assert answered(await shop.client.get(f"/oauth/authorize?{query}"))["error"] == "invalid_request"


async def test_a_loopback_port_may_be_another(shop: Shop) -> None:
    """A program on the user's computer takes the port that is free (RFC 8252, section 7.3); one elsewhere may not."""
    client = (await register(shop, REDIRECT, "https://agent.test/callback")).json()["client_id"]
    for uri, status in {
        "http://127.0.0.1:50000/callback": 200,
        "http://127.0.0.1/callback": 200,
        "https://agent.test/callback": 200,
        "https://agent.test:8443/callback": 400,
        "https://127.0.0.1:33418/callback": 400,
    }.items():
        parameters = await asked(shop, client_id=client, redirect_uri=uri)
        assert (await shop.client.get("/oauth/authorize", params=parameters)).status_code == status, uri


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://attacker.test"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": ""}, 403),
        ({"sec-fetch-site": "same-origin"}, 303),
    ],
    ids=str,
)
async def test_a_form_of_another_site(shop: Shop, headers: dict[str, str], status: int) -> None:
    """A page elsewhere cannot send the form, be it with a password that is right (CSRF)."""
    assert (await submit(shop, {**await asked(shop), **USER, "answer": "allow"}, **headers)).status_code == status


async def test_wrong_passwords(start_shop: StartShop) -> None:
    """The page comes again and says no more than that; the account's limit is that of every sign-in."""
    async with start_shop(sign_in_failure_limit="2/minute") as shop:
        parameters = await asked(shop)
        for email, password in (("demo@shop.test", "wrong"), ("demo@shop.test", HUGE), ("demo@shop.test", "wrong")):
            typed = {"email": email, "password": password, "answer": "allow"}
            again = await submit(shop, {**parameters, **typed})
            assert (again.status_code, "do not match" in again.text) == (403, True)
            assert Form(again.text).fields == parameters
        limited = await submit(shop, {**parameters, **USER, "answer": "allow"})
        assert (limited.status_code, "retry-after" in limited.headers) == (429, True)
        assert (await shop.client.post("/v1/auth/token", data={"username": USER["email"], "password": "demo"})
                ).status_code == 429  # fmt: skip


async def test_sign_ins_and_registrations_count(start_shop: StartShop) -> None:
    """Forms and registrations of programs count against the sign-ins of an address."""
    async with start_shop(sign_in_rate_limit="2/minute") as shop:
        parameters = await asked(shop)
        assert (await submit(shop, {**parameters, **USER, "answer": "allow"})).status_code == 303
        assert (await submit(shop, {**parameters, **USER, "answer": "allow"})).status_code == 429
        assert (await register(shop)).status_code == 429


async def test_a_code_is_good_once(shop: Shop) -> None:
    """The second try gets nothing, nor does one after a wrong verifier: a code is tried once."""
    given = await consented(shop)
    assert (await redeem(shop, given)).status_code == 200
    refused(await redeem(shop, given), "invalid_grant")
    given = await consented(shop)
    refused(await redeem(shop, {**given, "code_verifier": "w" * 43}), "invalid_grant")
    refused(await redeem(shop, given), "invalid_grant")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": "w" * 43}, "invalid_grant"),
        ({"code_verifier": "short"}, "invalid_grant"),
        ({"code_verifier": CHALLENGE}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_request"),
        ({"code": "guessed"}, "invalid_grant"),
        ({"code": ""}, "invalid_request"),
        ({"client_id": "another"}, "invalid_grant"),
        ({"client_id": ""}, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1:1/callback"}, "invalid_grant"),
        ({"redirect_uri": HUGE}, "invalid_request"),
        ({"resource": "https://elsewhere.test/mcp"}, "invalid_target"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "invalid_request"),
        ({"code": HUGE}, "invalid_request"),
        ({"code": "\u00e9"}, "invalid_request"),
    ],
    ids=lambda value: "-".join(f"{k}={v[:8]}" for k, v in value.items()) if isinstance(value, dict) else value,
)
async def test_a_bad_token_request(shop: Shop, changes: dict[str, str], error: str) -> None:
    """Whatever differs from what the user agreed to is refused by OAuth's code (RFC 6749, section 5.2)."""
    refused(await redeem(shop, {**await consented(shop), **changes}), error)


async def test_a_code_is_redeemed_without_its_redirect_uri(shop: Shop) -> None:
    """A client of OAuth 2.1 alone does not repeat it (section 10.2); the verifier is what binds the code."""
    given = await consented(shop)
    del given["redirect_uri"]
    assert (await redeem(shop, given)).status_code == 200


@pytest.mark.parametrize("charset", ["undefined", "raw_unicode_escape", "no-such"])
async def test_a_form_in_parts(shop: Shop, charset: str) -> None:
    """Only application/x-www-form-urlencoded is a form to OAuth (RFC 6749, section 3.2), whatever charset is named."""
    part = b'--x\r\nContent-Disposition: form-data; name="email"\r\n\r\n\\ud800\r\n--x--\r\n'
    headers = {"content-type": f"multipart/form-data; boundary=x; charset={charset}", "origin": base(shop)}
    refused(await shop.client.post("/oauth/token", content=part, headers=headers), "invalid_request")
    assert (await shop.client.post("/oauth/authorize", content=part, headers=headers)).status_code == 400


async def test_a_code_that_is_no_form(shop: Shop) -> None:
    """Another body than a form is an invalid request, and breaks nothing."""
    form = "application/x-www-form-urlencoded"
    for body, kind in ((b"{}", "application/json"), (b"\xff=%", ""), (b"\xff=%", form), (b"", form)):
        response = await shop.client.post("/oauth/token", content=body, headers={"content-type": kind})
        refused(response, "invalid_request")


@pytest.mark.parametrize(
    "uri",
    [
        "http://agent.test/callback",
        "https://agent.test/callback#fragment",
        "https://user@agent.test/callback",
        "javascript:alert(1)",
        "agent://callback",
        "https:///callback",
        "https://agent.test:port/",
        "https://agent.test\\@attacker.test/",
        "https://agent.test/a b",
        "//agent.test/",
        "",
        "https://agent.test/" + HUGE,
    ],
)
async def test_redirect_uris_that_no_client_may_have(shop: Shop, uri: str) -> None:
    """A redirect goes to HTTPS or to the user's own computer, and nowhere else."""
    refused(await register(shop, uri), "invalid_redirect_uri")


@pytest.mark.parametrize(
    "metadata",
    [
        {"client_name": "x" * 101},
        {"client_name": "two\nlines"},
        {"redirect_uris": [f"https://agent.test/{each}" for each in range(6)]},
        {"redirect_uris": []},
        {"redirect_uris": "https://agent.test/"},
        {"redirect_uris": [7]},
        {"grant_types": ["client_credentials"]},
        {"response_types": ["token"]},
    ],
    ids=lambda metadata: next(iter(metadata)),
)
async def test_metadata_that_no_client_may_have(shop: Shop, metadata: dict[str, Any]) -> None:
    """Registration is bounded: what is too much, or asks for another flow, is refused (RFC 7591, section 3.2.2)."""
    response = await register(shop, **metadata)
    assert response.status_code == 400
    assert response.json()["error"] in ("invalid_client_metadata", "invalid_redirect_uri")


async def test_a_clients_name_is_named_as_the_client_sent_it(shop: Shop) -> None:
    """The description of the error has the metadata's own name, `client_name`, and not that of users' contract."""
    response = await register(shop, client_name="two\nlines")
    assert "; client_name: must have at most" in response.json()["error_description"]


async def test_registrations_that_are_no_json(shop: Shop) -> None:
    """Bytes that are no JSON, and JSON that is nested deeper than any, get RFC 7591's error."""
    for body in (b"", b"\xff", b"[]", b"[" * 100_000):
        refused(await shop.client.post("/oauth/register", content=body), "invalid_client_metadata")


async def test_a_registered_client_has_no_secret(shop: Shop) -> None:
    """What cannot be had is replaced, and unknown metadata is left out (RFC 7591, sections 2 and 3.2.1)."""
    response = await register(shop, token_endpoint_auth_method="client_secret_basic", logo_uri="https://a.test/", x=1)
    assert response.status_code == 201
    found = response.json()
    assert found["token_endpoint_auth_method"] == "none"
    assert set(found).isdisjoint({"client_secret", "logo_uri", "x"})


async def test_an_agents_token_is_for_mcp_alone(shop: Shop) -> None:
    """No other route takes it: an agent has what the tools are, not the user's whole account."""
    token = (await redeem(shop, await consented(shop))).json()["access_token"]
    response = await shop.client.get("/v1/users/me", headers={"authorization": f"Bearer {token}"})
    assert response.status_code == 401
    assert "another audience" in response.json()["detail"]


async def test_an_old_token_stands_in_no_ones_way(shop: Shop) -> None:
    """A client whose token has expired, and that still sends it, registers and redeems nevertheless."""
    old = {"authorization": "Bearer expired"}
    response = await shop.client.post("/oauth/token", data=await consented(shop), headers=old)
    assert response.status_code == 200


async def test_without_a_public_address_nobody_signs_in(start_shop: StartShop) -> None:
    """In production the Host of a request is not believed: no page, no metadata, no registration until it is set."""
    async with start_shop(env="production", demo_data=False) as shop:
        assert (await shop.client.get("/oauth/authorize")).status_code in (400, 404)
        for path in ("/oauth/register", "/oauth/authorize"):
            assert (await shop.client.post(path, json={"redirect_uris": [REDIRECT]})).status_code == 404
