"""What the README says is so: its commands are run, its links followed, its numbers counted."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from chassis.broker.port import Topology
from chassis.settings import TOPOLOGY
from shop.process_table import TABLE
from tests.conftest import own_postgres
from tests.forking import popen
from tests.rabbitmq import own_rabbitmq
from tests.shop import Shop, free_ports, surroundings
from tests.system.real_shop import RealShop, real_shop
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
CODE = "\n".join([*BLOCKS, *re.findall(r"`([^`\n]+)`", README)])
BIN = Path(sys.executable).parent

# How each block begins. These are run below, as they are written:
SIGN_IN = "TOKEN="
PRODUCT = "curl -s localhost:8000/v1/products/42"
PLACE = "curl -si localhost:8000/v1/orders"
LIST = 'curl -s "localhost:8000/v1/orders?limit=1"'
GRAPHQL = "curl -s localhost:8000/graphql"
WEBSOCKET = ".venv/bin/shop events tail"
SSE = "curl -sN"
BREAK_IT = ".venv/bin/shop status"
PRODUCTION = "SHOP_BROKER_URL="
COPIES = "SHOP_NOTIFIER_PORT="
ANEW = "SHOP_ERP="
OVER_TLS = "curl -s --cacert"
RUN = {SIGN_IN, PRODUCT, PLACE, LIST, GRAPHQL, WEBSOCKET, SSE, BREAK_IT, PRODUCTION, COPIES, ANEW, OVER_TLS}
# These are not, and why:
NOT_RUN = {
    "make up": "makes an environment; the `shop up` that it then calls is what all tests here talk to",
    "make tour": "makes an environment; the `shop tour` that it then calls is run",
    "make test": "is what runs this",
    "docker compose up": "needs a container engine; `make compose-test` runs it",
    "docker compose run": "likewise",
    "make down": "likewise",
    "docker compose --env-file deploy/compose/second/env": "nightly; tests/compose/test_second.py runs it",
    "docker compose --profile scale": "needs a container engine; `make compose-test` runs it",
    "docker compose --env-file deploy/compose/kafka/env": "nightly; tests/compose/test_second.py runs it",
    "docker compose --env-file deploy/compose/observability/env": "needs images; `make compose-test` checks its files",
}

in_one_shop = pytest.mark.asyncio(loop_scope="module")
pytestmark = pytest.mark.system


def block(beginning: str) -> str:
    """The block that begins so."""
    (found,) = [each for each in BLOCKS if each.startswith(beginning)]
    return str(found)


def dry_run(target: str) -> str:
    """What `make` would do."""
    command = ["make", "--no-print-directory", "-n", target]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_every_block_is_run_or_has_a_reason_not_to_be() -> None:
    """Each of the README's blocks of commands is known here, and there is no other."""
    beginnings = [next((known for known in RUN | NOT_RUN.keys() if each.startswith(known)), each) for each in BLOCKS]
    assert sorted(beginnings) == sorted(RUN | NOT_RUN.keys())


def test_make_targets_exist() -> None:
    """Every make target in the README exists."""
    targets = set(re.findall(r"\bmake ([a-z-]+)", CODE))
    assert targets
    for target in targets:
        dry_run(target)


@pytest.mark.parametrize("command", ["up", "tour"])
def test_make_starts_what_is_run_here(command: str) -> None:
    """`make up` and `make tour` end in the `shop` command of that name."""
    assert dry_run(command).splitlines()[-1] == f"exec .venv/bin/shop {command}"


def test_shop_commands_exist() -> None:
    """Each `shop` command that the README names has a help page."""
    commands = set(re.findall(r"\bshop ([a-z-]+)", CODE))
    assert commands
    for command in commands:
        subprocess.run([BIN / "shop", command, "--help"], capture_output=True, check=True)


def test_processes_are_counted_right() -> None:
    """The README says how many processes there are."""
    numbers = {18: "eighteen", 19: "nineteen", 20: "twenty", 21: "twenty-one"}
    assert f"{numbers[len(TABLE)]} processes" in README


@pytest.mark.parametrize(
    "page",
    [Path("README.md"), Path("CONTRIBUTING.md"), *(path.relative_to(ROOT) for path in ROOT.glob("docs/**/*.md"))],
    ids=str,
)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link to a file, and each path in code style, is there."""
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / page.parent / link).exists(), link
    for path in re.findall(r"`((?:[a-zA-Z_*][\w*]*/)+[\w*.]*)`", text):
        assert any(ROOT.glob(path.rstrip("/"))), path


@dataclass(frozen=True)
class Terminal:
    """A reader's terminal: one bash for all commands, so that TOKEN stays."""

    bash: asyncio.subprocess.Process
    shop: RealShop

    async def run(self, commands: str, within: float = 30) -> str:
        """What the commands print; they must succeed."""
        assert self.bash.stdin is not None
        assert self.bash.stdout is not None
        end = uuid.uuid4().hex
        self.bash.stdin.write(f"{translated(commands, self.shop)}\nprintf '\\n%s %s\\n' {end} $?\n".encode())
        async with asyncio.timeout(within):
            printed = (await self.bash.stdout.readuntil(end.encode())).decode().removesuffix(end)
            status = int(await self.bash.stdout.readline())
        assert status == 0, printed
        return printed


def translated(commands: str, shop: Shop) -> str:
    """The same for this shop, which is elsewhere."""
    for port in (port for spec in TABLE for port in spec.ports):
        commands = commands.replace(f"localhost:{port.default}", f"127.0.0.1:{shop.around.ports[port.setting]}")
    here = {
        ".venv/bin/shop": f"{popen.shell_python()} -m shop",
        ".venv/bin/": f"{BIN}/",
        ".shop/": f"{shop.around.data_dir}/",
    }
    return re.sub("|".join(map(re.escape, here)), lambda written: here[written[0]], commands)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def terminal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Terminal]:
    """A terminal beside a running shop, in which the reader has signed in."""
    if not shutil.which("curl"):
        pytest.skip("not run: README's requests are made with curl, which is not on the PATH")
    async with real_shop(tmp_path_factory.mktemp("shop"), {"SHOP_PAYMENT_DELAY": "1"}) as shop:
        bash = await asyncio.create_subprocess_exec(
            "bash",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(shop.around.shared),
        )
        terminal = Terminal(bash, shop)
        try:
            await terminal.run(block(SIGN_IN))
            yield terminal
        finally:
            bash.kill()
            await bash.wait()


@in_one_shop
async def test_products_are_shown(terminal: Terminal) -> None:
    """The product and its stock are answered, one JSON object each."""
    printed = await terminal.run(block(PRODUCT))
    decoder = json.JSONDecoder()
    product, end = decoder.raw_decode(printed)
    availability, _ = decoder.raw_decode(printed[end:].lstrip())
    assert product["id"] == "42"
    assert availability["product_id"] == "42"
    assert availability["stale"] is False


@in_one_shop
async def test_order_is_accepted_and_soon_shipped(terminal: Terminal) -> None:
    """The order is answered with 202 and `pending`, and two seconds later the list has it as `shipped`."""
    printed = await terminal.run(block(PLACE))
    assert "202 Accepted" in printed
    order = json.loads(printed[printed.index("{") :])
    assert order["status"] == "pending"

    async def shipped() -> bool:
        (newest,) = json.loads(await terminal.run(block(LIST)))["items"]
        return bool(newest["status"] == "shipped")

    await eventually(shipped, within=60)
    assert await terminal.shop.status(order["id"]) == "shipped"


@in_one_shop
async def test_graphql_answers_in_one_query(terminal: Terminal) -> None:
    """User, orders and products come back in one answer without errors."""
    answer = json.loads(await terminal.run(block(GRAPHQL)))
    assert "errors" not in answer
    assert answer["data"]["user"]["orders"][0]["items"][0]["product"]["name"]


@in_one_shop
@pytest.mark.parametrize(
    ("beginning", "greeting"), [(WEBSOCKET, b"listening"), (SSE, b"retry:")], ids=["WebSocket", "SSE"]
)
async def test_events_are_shown_as_they_happen(terminal: Terminal, beginning: str, greeting: bytes) -> None:
    """A listener sees that an order is placed."""
    token = (await terminal.run("echo $TOKEN")).strip()
    env = {**terminal.shop.around.shared, "TOKEN": token}
    async with listening(translated(block(beginning), terminal.shop), env) as printed:
        await eventually(lambda: greeting in printed)
        assert (await terminal.shop.place(("20", 1))).status_code == 202
        await eventually(lambda: b"order.placed" in printed)


@asynccontextmanager
async def listening(commands: str, env: Mapping[str, str]) -> AsyncIterator[bytearray]:
    """What commands print that go on until they are stopped."""
    bash = await asyncio.create_subprocess_exec(
        "bash", "-c", commands, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, start_new_session=True
    )
    printed = bytearray()

    async def read() -> None:
        assert bash.stdout is not None
        while chunk := await bash.stdout.read(1 << 16):
            printed.extend(chunk)

    reading = asyncio.create_task(read())
    try:
        yield printed
    finally:
        os.killpg(bash.pid, signal.SIGKILL)
        await bash.wait()
        await reading


@in_one_shop
async def test_status_and_audit_find_nothing_wrong(terminal: Terminal) -> None:
    """The processes are listed, all ready, and the books agree."""
    printed = await terminal.run(block(BREAK_IT), within=60)
    assert all(re.search(rf"^{spec.name}\s+ready", printed, re.MULTILINE) for spec in TABLE)


@in_one_shop
async def test_second_copies_are_tried(terminal: Terminal) -> None:
    """The second notifier sends what the first one would; the second gateway answers the sixth request with 429."""
    await terminal.shop.place(("20", 1))
    commands = block(COPIES)
    for written, port in zip(("9001", "8100"), free_ports(2), strict=True):
        assert written in commands
        commands = commands.replace(written, str(port))
    printed = await terminal.run(commands, within=120)
    assert re.search(r"\b1  2.*\b2  2.*\b3  2", printed, re.DOTALL), printed
    assert re.findall(r"^\d{3}$", printed, re.MULTILINE) == ["200"] * 5 + ["429"]


@in_one_shop
async def test_tour_shows_the_journey(terminal: Terminal) -> None:
    """`shop tour` travels through the shop that runs and finds every hop."""
    printed = await terminal.run(".venv/bin/shop tour", within=60)
    assert all(protocol in printed for protocol in ("REST", "GraphQL", "gRPC", "SOAP", "SMTP", "WebSocket"))


@in_one_shop
async def test_pages_are_there(terminal: Terminal) -> None:
    """Each address that the README links to answers."""
    pages = re.findall(r"<(http://localhost:[^>]+)>", README)
    assert pages
    async with httpx.AsyncClient(timeout=60) as client:
        for page in pages:
            response = await client.get(translated(page, terminal.shop), headers={"Accept": "text/html"})
            assert response.status_code == 200, page


@pytest.mark.rabbitmq
@pytest.mark.postgres
async def test_two_settings_switch_to_rabbitmq_and_postgresql(tmp_path: Path) -> None:
    """With the block's two settings, the same command starts a shop that ships an order."""
    async with own_rabbitmq(Topology.load(TOPOLOGY)) as broker_url, own_postgres() as database_url:
        commands = block(PRODUCTION)
        for written, here in (
            ("amqp://guest:guest@localhost:5672/", broker_url),
            ("postgresql://postgres@localhost:5432/shop_{service}", database_url),
            ("make up", f"exec {BIN}/shop up"),
        ):
            assert written in commands
            commands = commands.replace(written, here)
        async with up(commands, tmp_path) as shop:
            order_id = (await shop.place(("42", 1))).json()["id"]

            async def shipped() -> bool:
                return await shop.status(order_id) == "shipped"

            await eventually(shipped, within=60)
            state = {name for name in os.listdir(tmp_path) if name.endswith(".sqlite")}  # noqa: PTH208 - see ASYNC240
            assert state == {"payment_provider.sqlite", "legacy_soap.sqlite"}, "only what is not ours"


@pytest.mark.timeout(240)
async def test_settings_change_what_is_started(tmp_path: Path) -> None:
    """Started anew, the shop speaks TLS and has the modern ERP: the tour finds every hop, and none by SOAP."""
    commands = block(ANEW)
    assert ".venv/bin/shop up" in commands
    commands = commands.replace(".venv/bin/shop up", f'exec "{sys.executable}" -m shop up')
    async with up(commands, tmp_path, secure=True) as shop:
        asking = translated(block(OVER_TLS), shop)
        process = await asyncio.create_subprocess_exec(
            *("bash", "-ec", asking), env=shop.around.shared, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        printed = (await asyncio.wait_for(process.communicate(), 120))[0].decode()
        assert process.returncode == 0, printed
        assert '"price":"89.00"' in printed
        assert "0 SOAP calls" in printed


@asynccontextmanager
async def up(commands: str, data_dir: Path, *, secure: bool = False) -> AsyncIterator[RealShop]:
    """The shop that these commands start, once it is ready. A `secure` one makes its own addresses of HTTPS."""
    around = surroundings(data_dir)
    if secure:
        around = replace(
            around, shared={name: value for name, value in around.shared.items() if not name.endswith("_URL")}
        )
    bash = await asyncio.create_subprocess_exec("bash", "-c", commands, env=around.shared)
    try:
        async with httpx.AsyncClient(base_url=around.shared.get("SHOP_GATEWAY_URL", ""), timeout=60) as http:
            shop = RealShop(around, http, supervisor=bash)
            await eventually(shop.all_ready, within=60)
            yield shop
    finally:
        if bash.returncode is None:
            bash.terminate()
        await asyncio.wait_for(bash.wait(), 30)
