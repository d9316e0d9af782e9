"""shop.users.v1, served: tokens for a valid secret, and other accounts only for callers who may see them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from chassis.auth.identity import TokenVerifier
from chassis.database.database import database
from protos.shop.users.v1 import users_pb2 as pb
from protos.shop.users.v1.users_pb2_grpc import UserServiceStub
from services.users import bootstrap as users
from services.users.demo import DEMO_USERS
from services.users.domain import Role, User
from services.users.sql_store import SqlUserStore
from tests.services.conftest import Service, reached

SIGN_IN = pb.IssueTokenRequest(email="demo@shop.test", password="demo")


async def token(service: Service, request: pb.IssueTokenRequest = SIGN_IN) -> str:
    return str((await service.as_().call("IssueToken", request)).access_token)


async def users_seen_with(service: Service, token: str, *ids: str) -> list[str]:
    response = await service.stub.GetUsers(
        pb.GetUsersRequest(ids=ids), metadata=[("authorization", f"Bearer {token}")] if token else []
    )
    return [user.id for user in response.users]


async def test_token_is_verified_by_the_published_keys(users_service: Service) -> None:
    """A token names its user and role, and any holder of the published keys can verify it."""

    async def jwks() -> str:
        return str((await users_service.as_().call("GetJwks", pb.GetJwksRequest())).jwks_json)

    principal = await TokenVerifier(jwks).verify(await token(users_service))
    assert (principal.subject, principal.role) == ("123", "customer")
    assert all("d" not in key for key in json.loads(await jwks())["keys"])


async def test_email_is_the_same_in_any_case(users_service: Service) -> None:
    """Nobody has to remember how they wrote their email."""
    assert await token(users_service, pb.IssueTokenRequest(email=" DEMO@Shop.Test ", password="demo"))


@pytest.mark.parametrize(("email", "password"), [("demo@shop.test", "wrong"), ("nobody@shop.test", "demo"), ("", "")])
async def test_wrong_credentials_are_one_answer(users_service: Service, email: str, password: str) -> None:
    """An unknown email and a wrong password are refused in the same words."""
    refusal = await users_service.as_().refusal("IssueToken", pb.IssueTokenRequest(email=email, password=password))
    assert (refusal.code, refusal.message) == ("WRONG_CREDENTIALS", "wrong email or password")


@pytest.mark.parametrize(
    ("service", "secret"), [("webhooks", "wrong"), ("unknown", "s3cret"), ("mailer", ""), ("", "")]
)
async def test_process_needs_its_secret(users_service: Service, service: str, secret: str) -> None:
    """A process without the right secret, or without any configured, gets no token."""
    request = pb.IssueServiceTokenRequest(service=service, secret=secret)
    assert (await users_service.as_().refusal("IssueServiceToken", request)).code == "WRONG_CREDENTIALS"


async def test_process_with_its_secret_sees_every_user(users_service: Service) -> None:
    """A process's token is of role service, and sees every user: it works for all of them."""
    request = pb.IssueServiceTokenRequest(service="webhooks", secret="s3cret")
    own = (await users_service.as_().call("IssueServiceToken", request)).access_token
    assert await users_seen_with(users_service, own, "456", "123", "unknown") == ["456", "123"]


async def test_customer_sees_only_themselves(users_service: Service) -> None:
    """A customer who asks for others gets themselves only; an admin gets all."""
    assert await users_seen_with(users_service, await token(users_service), "456", "123") == ["123"]
    admin = await token(users_service, pb.IssueTokenRequest(email="admin@shop.test", password="admin"))
    assert await users_seen_with(users_service, admin, "456", "123") == ["456", "123"]


async def test_registered_customer_can_sign_in(users_service: Service) -> None:
    """A new account is a customer's, whatever the request says, and can sign in; their email is then taken."""
    request = pb.RegisterUserRequest(name=" Ada ", email="Ada@Shop.test", password="long enough")
    user = (await users_service.as_().call("RegisterUser", request)).user
    assert (user.name, user.email, user.role) == ("Ada", "ada@shop.test", "customer")
    own = await token(users_service, pb.IssueTokenRequest(email="ada@shop.test", password="long enough"))
    assert await users_seen_with(users_service, own, user.id, "123") == [user.id]
    assert (await users_service.as_().refusal("RegisterUser", request)).code == "EMAIL_TAKEN"


async def test_wrong_registration_names_every_field(users_service: Service) -> None:
    """A registration is refused once, naming everything that is wrong with it."""
    refusal = await users_service.as_().refusal("RegisterUser", pb.RegisterUserRequest(email="x", password="short"))
    assert (refusal.code, sorted(refusal.fields)) == ("INVALID_INPUT", ["email", "name", "password"])


@pytest.mark.parametrize(
    "address",
    [
        *("a,b@c.de", "a@b..c", "a@b.c>", "a@b", "@b.de", "a b@c.de", "a@b.de, c@d.de", "<a@b.de>", "a@-b.de"),
        *(".a@b.de", "a@[127.0.0.1]", '"a b"@c.de', "a@b.de\r\nBcc: c@d.de", "a@b.localhost", "a\u200b@b.de"),
        "a" * 65 + "@b.de",
    ],
)
async def test_address_that_no_mail_can_reach(users_service: Service, address: str) -> None:
    """An address to which no mail can be sent is refused, for each of its orders would end in mails that fail."""
    request = pb.RegisterUserRequest(name="Ada", email=address, password="long enough")
    refusal = await users_service.as_().refusal("RegisterUser", request)
    assert (refusal.code, list(refusal.fields)) == ("INVALID_INPUT", ["email"])


@pytest.mark.parametrize(
    "forms",
    [
        ("ren\u00e9@shop.test", "rene\u0301@shop.test", "REN\u00c9@SHOP.TEST"),
        ("ada@m\u00fcller.test", "ada@xn--mller-kva.test", "ada@mu\u0308ller.test", "ADA@M\u00dcLLER.TEST"),
    ],
)
async def test_one_address_is_one_account(users_service: Service, forms: tuple[str, ...]) -> None:
    """However an address is written, composed or not, in Unicode or in ASCII, it is one account, and signs in to it."""
    first, *others = forms
    request = pb.RegisterUserRequest(name="Ada", email=first, password="long enough")
    await users_service.as_().call("RegisterUser", request)
    for other in others:
        again = pb.RegisterUserRequest(name="Eve", email=other, password="long enough")
        assert (await users_service.as_().refusal("RegisterUser", again)).code == "EMAIL_TAKEN"
        assert await token(users_service, pb.IssueTokenRequest(email=other, password="long enough"))


def _back_to_the_first_schema(connection: Connection) -> None:
    for table in ("clients", "authorization_codes"):
        connection.execute(text(f"DROP TABLE {table}"))
    connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))


async def test_addresses_from_before_are_brought_into_one_form(tmp_path: Path) -> None:
    """What is stored in another form gets the one form; of two accounts with one address, both can still sign in."""
    url = f"sqlite:///{tmp_path / 'users.sqlite'}"
    old = ["ada@m\u00fcller.test", "rene\u0301@shop.test", "ren\u00e9@shop.test", "a,b@c.de"]
    password_hash = DEMO_USERS[0].password_hash
    async with database(url, users.MIGRATIONS) as db:
        when = datetime(2026, 1, 5, tzinfo=UTC)
        stored = [User(str(n), "Old", email, Role.CUSTOMER, password_hash, when) for n, email in enumerate(old)]
        await SqlUserStore(db).add_missing(stored)
        await db.write(_back_to_the_first_schema)
    settings = users.Settings(data_dir=tmp_path, otlp_url="", users_port=0)
    async with users.run(settings) as running, reached(UserServiceStub, running.port) as service:
        for email in (*old, "ada@xn--mller-kva.test"):
            assert await token(service, pb.IssueTokenRequest(email=email, password="demo"))
    async with database(url, users.MIGRATIONS) as db:
        assert [user.email for user in await SqlUserStore(db).by_ids(["0", "1", "2", "3"])] == [
            "ada@xn--mller-kva.test",
            "rene\u0301@shop.test",
            "ren\u00e9@shop.test",
            "a,b@c.de",
        ]


async def test_token_outlives_a_restart(tmp_path: Path) -> None:
    """The signing key is kept: a token of before a restart is valid after it."""
    settings = users.Settings(data_dir=tmp_path, otlp_url="", users_port=0)
    async with users.run(settings) as running, reached(UserServiceStub, running.port) as service:
        before = await token(service)
    async with users.run(settings) as running, reached(UserServiceStub, running.port) as service:
        assert await users_seen_with(service, before, "123") == ["123"]


async def test_production_refuses_demo_accounts(tmp_path: Path) -> None:
    """A production that is set to load the demo accounts, or finds them in its database, does not start."""
    production = {"data_dir": tmp_path, "otlp_url": "", "users_port": 0, "env": "production"}
    with pytest.raises(ValueError, match="exclude each other"):
        async with users.run(users.Settings.model_validate(production | {"demo_data": True})):
            pass
    async with users.run(users.Settings.model_validate(production | {"env": "development"})):
        pass
    with pytest.raises(RuntimeError, match="holds demo accounts: 1, 1000, 123"):
        async with users.run(users.Settings.model_validate(production)):
            pass


async def test_production_starts_without_demo_accounts(tmp_path: Path) -> None:
    """A production on an empty database starts, and no account has a public password."""
    settings = users.Settings(data_dir=tmp_path, otlp_url="", users_port=0, env="production")
    async with (
        users.run(settings) as running,
        reached(UserServiceStub, running.port) as service,
    ):
        assert (await service.as_().refusal("IssueToken", SIGN_IN)).code == "WRONG_CREDENTIALS"
