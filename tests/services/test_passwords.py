"""The one bounded queue for argon2: what waits in it, what is refused, and what is not begun."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher

from chassis.errors import ShopError
from protos.shop.users.v1 import users_pb2 as pb
from services.users.passwords import MAX_WAITING, Argon2Passwords
from tests.services.conftest import Service
from tests.waiting import eventually


class SlowHasher(PasswordHasher):
    """A fake that takes until it is released, and records its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.begun: list[str | bytes] = []

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.begun.append(password)
        assert self.go_on.wait(30)
        return "hash"


@pytest.fixture
def hasher() -> Iterator[SlowHasher]:
    slow = SlowHasher()
    yield slow
    slow.go_on.set()


async def test_queue_is_bounded(hasher: SlowHasher) -> None:
    """Two are hashed at once, so many wait, and one more is refused at once; afterwards there is room again."""
    passwords = Argon2Passwords(hasher)
    accepted = [asyncio.create_task(passwords.hash(str(each))) for each in range(2 + MAX_WAITING)]
    await eventually(lambda: len(hasher.begun) == 2)
    with pytest.raises(ShopError, match="OVERLOADED"):
        await passwords.hash("one more")
    with pytest.raises(ShopError, match="OVERLOADED"):
        await passwords.matches("sign-in", None)
    assert len(hasher.begun) == 2
    hasher.go_on.set()
    assert await asyncio.gather(*accepted) == ["hash"] * (2 + MAX_WAITING)
    assert await passwords.hash("later") == "hash"


async def test_nobody_waits_for_it(hasher: SlowHasher) -> None:
    """What its caller has given up before its turn is not begun, and gives its place in the queue to another."""
    passwords = Argon2Passwords(hasher)
    running = [asyncio.create_task(passwords.hash(f"running {each}")) for each in range(2)]
    await eventually(lambda: len(hasher.begun) == 2)
    given_up = [asyncio.create_task(passwords.hash("given up")) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    for task in (*given_up, running[0]):
        task.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)
    # What has begun keeps its place until it is done: its caller's going makes the machine no freer.
    waiting = [asyncio.create_task(passwords.hash(f"waiting {each}")) for each in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(ShopError, match="OVERLOADED"):
        await passwords.hash("one more")
    hasher.go_on.set()
    await asyncio.gather(*waiting)
    assert sorted(hasher.begun) == sorted(["running 0", "running 1", *(f"waiting {n}" for n in range(MAX_WAITING))])


async def test_flood_of_registrations(users_service: Service) -> None:
    """A hundred registrations at once: each is done or refused with OVERLOADED, and keys are served meanwhile."""
    calls = [
        users_service.stub.RegisterUser(
            pb.RegisterUserRequest(name="Ada", email=f"ada{each}@shop.test", password="long enough")
        )
        for each in range(100)
    ]
    flood = [asyncio.ensure_future(call) for call in calls]
    assert (await users_service.as_().call("GetJwks", pb.GetJwksRequest())).jwks_json
    codes = {(await call.code()).name for call in calls}
    await asyncio.gather(*flood, return_exceptions=True)
    assert codes == {"OK", "RESOURCE_EXHAUSTED"}
    request = pb.IssueTokenRequest(email="demo@shop.test", password="demo")
    assert (await users_service.as_().call("IssueToken", request)).access_token
