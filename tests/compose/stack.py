"""The composed shop of a test: a project of its own beside any other, on free ports, reached as its users reach it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.deploy.manifests import variables
from tests.shop import free_ports
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
PUBLISHED = {
    "SHOP_GATEWAY_PORT": "gateway",
    "SHOP_NOTIFIER_PORT": "notifier",
    "SHOP_WEBHOOKS_PORT": "webhooks",
    "SHOP_CONSOLE_PORT": "console",
    "SHOP_BALANCED_GATEWAY_PORT": "load_balancer",
    "SHOP_BALANCED_NOTIFIER_PORT": "load_balancer",
}
# Sign-ins a minute: few enough to use up, more than all other tests need.
SIGN_INS = 30
# Seconds; the first time, images are fetched within them.
_UP_WITHIN = 240


def engine() -> str:
    """Why no composed shop can be tried here; empty when one can."""
    if not shutil.which("docker"):
        return "no docker on the PATH"
    asked = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if asked.returncode:
        return "docker has no compose"
    answered = subprocess.run(["docker", "info", "--format", "x"], capture_output=True, text=True, check=False)
    return "" if answered.returncode == 0 else f"no container engine answers: {answered.stderr.strip()[:200]}"


async def inspected(*names: str) -> list[dict[str, Any]]:
    """What docker says of containers or images."""
    process = await asyncio.create_subprocess_exec("docker", "inspect", *names, stdout=subprocess.PIPE)
    printed, _ = await process.communicate()
    found: list[dict[str, Any]] = json.loads(printed)
    return found


@dataclass
class Stack:
    """One project of docker compose."""

    project: str
    ports: Mapping[str, int]
    # Variables of the composition beside those of a test, and files of such variables, as `--env-file` takes them.
    settings: Mapping[str, str] = field(default_factory=dict)
    env_files: tuple[str, ...] = ()
    tokens: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SHOP_", "COMPOSE_"))}
        return {
            **inherited,
            **self.settings,
            "SHOP_SIGN_IN_RATE_LIMIT": f"{SIGN_INS}/minute",
            "SHOP_LOG_LEVEL": "warning",
        }

    async def compose(self, *arguments: str, within: float = 60, failing: bool = False) -> str:
        """Run docker compose and return what it prints. Raises `AssertionError` when it fails, unless it may."""
        files = [argument for file in self.env_files for argument in ("--env-file", file)]
        process = await asyncio.create_subprocess_exec(
            "docker", "compose", *files, *arguments,
            cwd=ROOT, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(within):
                printed, complained = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        if process.returncode and not failing:
            raise AssertionError(f"docker compose {' '.join(arguments)}: {complained.decode()[-2000:]}")
        return printed.decode()

    async def up(self, *profiles: str) -> None:
        """Start what is not running, and wait until all of it is healthy."""
        chosen = [argument for profile in profiles for argument in ("--profile", profile)]
        await self.compose(*chosen, "up", "--wait", "--wait-timeout", str(_UP_WITHIN), within=_UP_WITHIN + 30)

    async def containers(self) -> dict[str, dict[str, Any]]:
        """Service -> what docker says of its container."""
        ids = (await self.compose("ps", "--all", "--quiet")).split()
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in await inspected(*ids)}

    async def healthy(self, *services: str) -> bool:
        found = await self.containers()
        return all(found[name]["State"].get("Health", {}).get("Status") == "healthy" for name in services)

    async def kill(self, service: str) -> None:
        """End a service as a power cut would. It stays away until `start`."""
        await self.compose("kill", service)

    async def start(self, *services: str) -> None:
        await self.compose("start", *services)
        await eventually(lambda: self.healthy(*services), within=90)

    async def tool(self, *arguments: str) -> dict[str, Any]:
        """What `shop …` prints, run inside the shop's network."""
        printed = await self.compose("--profile", "tools", "run", "--rm", "-T", "shop", *arguments, within=90)
        found: dict[str, Any] = json.loads(printed)
        return found

    def url(self, setting: str) -> str:
        return f"http://127.0.0.1:{self.ports[setting]}"

    def client(self, setting: str = "SHOP_GATEWAY_PORT") -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url(setting), timeout=10)

    async def bearer(self, email: str = "demo@shop.test", password: str = "demo") -> dict[str, str]:
        """The header of an account that has signed in, once."""
        if email not in self.tokens:
            async with self.client() as http:
                response = await http.post("/v1/auth/token", data={"username": email, "password": password})
            assert response.status_code == 200, response.text
            self.tokens[email] = response.json()["access_token"]
        return {"Authorization": f"Bearer {self.tokens[email]}"}

    async def place(self, product_id: str = "42", *, by: str = "SHOP_GATEWAY_PORT") -> str:
        """Place an order, as often as it takes to be accepted; its id."""
        body = {"items": [{"product_id": product_id, "quantity": 1}]}
        headers = {**await self.bearer(), "Idempotency-Key": uuid.uuid4().hex}
        async with self.client(by) as http:

            async def accepted() -> str:
                try:
                    response = await http.post("/v1/orders", json=body, headers=headers)
                except httpx.TransportError as error:
                    raise AssertionError(f"no answer: {error!r}") from error
                assert response.status_code == 202, response.text
                return str(response.json()["id"])

            return await eventually(accepted, within=60)

    async def reaches(self, order_id: str, status: str, within: float = 60) -> None:
        """Wait until an order is where it should get."""
        async with self.client() as http:

            async def there() -> bool:
                try:
                    response = await http.get(f"/v1/orders/{order_id}", headers=await self.bearer())
                except httpx.TransportError:
                    return False
                return response.status_code == 200 and bool(response.json()["status"] == status)

            await eventually(there, within=within)

    async def books_agree(self) -> None:
        """`shop audit`, inside: every accepted order is on record everywhere exactly once."""
        report = await self.tool("audit", "--wait", "60", "--json")
        assert report["differences"] == []
        assert report["in_flight"] == []
        assert report["orders"] > 0


def own_stack() -> Stack:
    """A project with a name, a network and free ports of its own."""
    project = f"polyglot-shop-test-{uuid.uuid4().hex[:8]}"
    ports = dict(zip(PUBLISHED, free_ports(len(PUBLISHED)), strict=True))
    own = {setting: str(port) for setting, port in ports.items()}
    return Stack(project, ports, {**own, "COMPOSE_PROJECT_NAME": project, "SHOP_SUBNET": "10.213.214.0/24"})


def configured_stack(*env_files: str) -> Stack:
    """The project that files of variables describe, with their name, network and ports."""
    found = {name: value for file in env_files for name, value in variables(ROOT / file).items()}
    ports = {setting: int(found[setting]) for setting in PUBLISHED}
    return Stack(found["COMPOSE_PROJECT_NAME"], ports, env_files=env_files)


@asynccontextmanager
async def composed(stack: Stack, *profiles: str) -> AsyncIterator[Stack]:
    """A shop of its own, from nothing, and nothing left of it; its logs are in build/PROJECT.log if it fails."""
    try:
        await stack.up(*profiles)
        yield stack
    finally:
        log = ROOT / "build" / f"{stack.project}.log"
        log.parent.mkdir(exist_ok=True)
        everything = [argument for profile in ("scale", "tools", *profiles) for argument in ("--profile", profile)]
        log.write_text(await stack.compose(*everything, "logs", "--no-color", failing=True))

        async def removed() -> bool:
            await stack.compose(*everything, "down", "--volumes", "--timeout", "5", within=120)
            return True

        # The engine lets go of a removed container's place in the network a moment later.
        await eventually(removed, within=60)
