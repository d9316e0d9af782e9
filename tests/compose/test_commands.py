"""`docker compose run --rm shop …`: what each command does inside, and what it says where it can do nothing there."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

import pytest

from shop.cli import COMMANDS
from tests.compose.stack import Stack

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

ORDER = "ORDER"


@dataclass(frozen=True)
class Case:
    """A command, its exit code inside, and words that it prints."""

    command: str
    code: int
    says: str


# These do the same as beside `make up`.
WORK = (
    Case("status", 0, "gateway            ready"),
    Case("--help", 0, "dead-letters"),
    Case("doctor", 0, "the processes run elsewhere (SHOP_GATEWAY_URL="),
    Case("settings gateway_port", 0, "SHOP_GATEWAY_PORT=8000"),
    Case("token demo@shop.test", 0, "eyJ"),
    Case(f"order {ORDER}", 0, "verdict: settled"),
    Case("order 123", 0, "demo data"),
    Case(f"trace {ORDER}", 0, "RegisterSalesOrder"),
    Case(f"logs {ORDER}", 0, "no log lines of it are kept"),
    Case("queues", 0, "order-processing"),
    Case("call catalog GetProducts ids=42", 0, "Mechanical Keyboard"),
    Case(f"call orders GetOrder id={ORDER}", 0, '"status": "shipped"'),
    Case("events replay --after 0", 0, "order.shipped"),
    Case("events tail --after 0 --count 2", 0, "listening"),
    Case("events say 123 hello", 0, "chat.posted"),
    Case("dead-letters list", 0, "no dead letters"),
    Case("webhooks list", 0, "stripe payment_intent.succeeded"),
    Case("partner send shopify", 0, "stored"),
    Case("fault list", 0, "kill-gateway"),
    Case("tour", 0, "hops, all as they should be"),
    Case("reports sales", 0, "counted since"),
    Case("audit --wait 60", 0, "the books agree"),
)
# These need a shop of this machine, or write where a container must not: each says so in a line.
REFUSED = (
    Case("down", 0, "A composed shop is ended by `make down`"),
    Case("reset --yes", 0, "make down ARGS=-v"),
    Case("healthy catalog", 1, "does not answer on this machine"),
    Case("open docs", 2, "open its pages from your own machine"),
    Case("fault kill catalog", 2, "shop: no shop runs in"),
    Case("up", 2, "shop: "),
    Case("certs", 2, "shop: cannot write"),
    Case("lesson start 1", 2, "shop: "),
    Case("compare E1", 2, "make setup-dev"),
)


@pytest.fixture(scope="session")
def cases() -> tuple[Case, ...]:
    return (*WORK, *REFUSED)


def test_every_command_is_tried(cases: tuple[Case, ...]) -> None:
    """Each command is in the list, or has a reason not to be."""
    elsewhere = {
        "run": "is what every container of the stack does",
        "migrate": "is a job of the stack, which is healthy only afterwards",
        "mcp": "talks to a desktop client; tests/mcp runs it",
    }
    tried = {case.command.split()[0] for case in cases} - {"--help"}
    assert tried | elsewhere.keys() == {name for commands in COMMANDS.values() for name in commands}


async def test_commands_do_their_work_inside_or_say_why_not(stack: Stack, cases: tuple[Case, ...]) -> None:
    """Each command ends with its exit code and its words, and none with a traceback."""
    order_id = await stack.place()
    await stack.reaches(order_id, "shipped")
    commands = [case.command.replace(ORDER, order_id) for case in cases]
    # All in one container, since each takes seconds to start: what compose would run in one each.
    script = "\n".join(
        f"printf '\\036%s\\037' {shlex.quote(each)}; timeout 90 shop {each} </dev/null 2>&1; printf '\\037%s' $?"
        for each in commands
    )
    told = await stack.compose(
        *("--profile", "tools", "run", "--rm", "-T", "--entrypoint", "sh", "shop", "-c", script), within=600
    )
    seen = {}
    for record in told.split("\x1e")[1:]:
        command, printed, code = record.split("\x1f")
        seen[command] = (int(code), printed)
    wrong = [
        f"$ shop {command}: {seen.get(command)}"
        for case, command in zip(cases, commands, strict=True)
        if command not in seen
        or seen[command][0] != case.code
        or case.says not in seen[command][1]
        or "Traceback" in seen[command][1]
        or (case.code == 2 and len(seen[command][1].splitlines()) > 1)
    ]
    assert not wrong, "\n\n".join(wrong)


async def test_compose_runs_a_single_command(stack: Stack) -> None:
    """`docker compose run --rm shop …` as a person types it: what RabbitMQ's consumers hold is shown there, too."""
    found = await stack.tool("queues", "--json")
    assert {"order-processing", "order-mail"} <= {each["queue"] for each in found["items"]}
    assert all(isinstance(each["held"], int) for each in found["items"]), json.dumps(found)
