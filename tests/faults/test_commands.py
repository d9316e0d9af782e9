"""`shop fault` on a running shop: each fault bites, ends by itself, and says that it is undone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Never

import httpx
import pytest
import pytest_asyncio

from chassis.settings import environment
from shop.commands.partners.partner import Provider, send
from shop.errors import Refused
from shop.fault.faults.grammar import KINDS, parse
from shop.fault.faults.ground import Ground
from shop.fault.links.client import Links
from shop.fault.scenarios.own_shop import own_shop
from shop.process_table import TABLE
from shop.supervisor import keyring, lock, state
from shop.supervisor.state import ProcessState, State
from tests.forking import popen
from tests.waiting import eventually

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
with_the_shop = pytest.mark.asyncio(loop_scope="module")
Env = Mapping[str, str]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shop() -> AsyncIterator[Env]:
    with own_shop({name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}) as env:
        yield env


async def fault(env: Env, *words: str) -> tuple[int, str]:
    """Run `shop fault`; its exit code, and all that it printed."""
    process = await begun(env, *words)
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def begun(env: Env, *words: str, start_new_session: bool = False) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "shop", "fault", *words),
        env=dict(env),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=start_new_session,
    )


def gateway_of(env: Env) -> str:
    return Ground.of(env).env["SHOP_GATEWAY_URL"]


def process_state(env: Env, name: str) -> str:
    """The letter that the kernel has for a process: T is stopped."""
    pid = next(each.pid for each in state.read(Path(env["SHOP_DATA_DIR"])) if each.name == name)
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def limits(pid: int | None) -> str:
    """What the kernel allows a process."""
    return Path(f"/proc/{pid}/limits").read_text()


@with_the_shop
async def test_a_killed_process_is_back_when_the_command_ends(shop: Env) -> None:
    """It has another pid, and the command says so."""
    before = {each.name: each.pid for each in state.read(Path(shop["SHOP_DATA_DIR"]))}
    code, output = await fault(shop, "kill", "mailer")
    assert (code, "mailer started again" in output) == (0, True)
    after = {each.name: (each.pid, each.state) for each in state.read(Path(shop["SHOP_DATA_DIR"]))}
    assert after["mailer"][1] == "ready"
    assert after["mailer"][0] != before["mailer"]


@with_the_shop
async def test_a_frozen_process_goes_on_after_its_time(shop: Env) -> None:
    """After `--for` it goes on, and the command says so."""
    code, output = await fault(shop, "freeze", "mailer", "--for", "0.2")
    assert (code, "undone: mailer went on" in output) == (0, True)
    assert process_state(shop, "mailer") != "T"


@with_the_shop
async def test_a_fault_lasts_while_a_command_runs(shop: Env) -> None:
    """With `--while` it is at work as long as the command runs, whose exit code becomes that of `shop fault`."""
    pid = next(each.pid for each in state.read(Path(shop["SHOP_DATA_DIR"])) if each.name == "mailer")
    look = f"{popen.shell_python()} -m shop fault list --json; cat /proc/{pid}/stat; exit 3"
    code, output = await fault(shop, "freeze", "mailer", "--while", look)
    assert code == 3
    assert '"freeze mailer"' in output
    assert f"{pid} (mailer) T" in output
    assert output.index(f"{pid} (mailer) T") < output.index("undone: mailer went on")
    assert process_state(shop, "mailer") != "T"


@with_the_shop
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_whatever_ends_the_command_ends_the_freeze(shop: Env, number: signal.Signals) -> None:
    """Ctrl-C and a signal undo it; so does a guard, should the command be killed."""
    freezing = await begun(shop, "freeze", "mailer", "--for", "300")
    await eventually(lambda: process_state(shop, "mailer") == "T")
    freezing.send_signal(number)
    await freezing.communicate()
    await eventually(lambda: process_state(shop, "mailer") != "T")


@with_the_shop
async def test_ctrl_c_leaves_a_command_its_own_end(shop: Env, tmp_path: Path) -> None:
    """A command that Ctrl-C reaches as well cleans up by itself before the fault is undone."""
    begins, ends = tmp_path / "begins", tmp_path / "ends"
    tidy = f"trap 'sleep 1; echo tidy > {ends}; exit 0' INT; echo > {begins}; while :; do sleep 0.1; done"
    freezing = await begun(shop, "freeze", "mailer", "--while", tidy, start_new_session=True)
    await eventually(begins.exists)
    os.killpg(freezing.pid, signal.SIGINT)
    await freezing.communicate()
    assert ends.read_text() == "tidy\n"
    assert process_state(shop, "mailer") != "T"


@with_the_shop
async def test_a_link_is_watched_while_a_command_runs(shop: Env) -> None:
    """With `--while` what `--for` says does not count: the command's last request is seen, too."""
    ask = f"sleep 0.5; curl -s -o {os.devnull} -H 'Cache-Control: no-cache' {gateway_of(shop)}/v1/products/17"
    code, output = await fault(shop, "watch", "gateway:catalog", "--for", "0.1", "--while", ask, "--json")
    frames = json.loads(output)["frames"]
    assert (code, any(each["what"].startswith("HEADERS") for each in frames)) == (0, True)


@with_the_shop
async def test_a_link_is_watched_on_with_what_was_seen(shop: Env) -> None:
    """Its time begins anew, and its frames stay; a link that is not watched is refused."""
    with Links(Path(shop["SHOP_DATA_DIR"])) as links:
        await asyncio.to_thread(links.watch, "gateway->catalog", 60)
        async with httpx.AsyncClient(base_url=gateway_of(shop), timeout=60) as http:
            await http.get("/v1/products/18", headers={"Cache-Control": "no-cache"})
        seen = await eventually(lambda: links.frames("gateway->catalog"))
        links.watch_on("gateway->catalog", 60)
        assert links.frames("gateway->catalog")[: len(seen)] == seen
        with pytest.raises(Refused, match="not watched"):
            links.watch_on("orders->users", 60)


@with_the_shop
async def test_the_erp_misbehaves_for_as_long_as_was_asked(shop: Env) -> None:
    """An hour, which `--for` takes at most, is an hour of the ERP, too."""
    breaking = await begun(shop, "erp", "delay=1ms", "--for", "3600")

    async def switched() -> int:
        async with httpx.AsyncClient(timeout=60) as http:
            return int((await http.get(Ground.of(shop).env["SHOP_LEGACY_SOAP_URL"] + "/_faults")).json()["seconds"])

    assert await eventually(switched, within=60) == 3600
    breaking.send_signal(signal.SIGINT)
    await breaking.communicate()


@with_the_shop
@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM, "shop fault stop"])
async def test_what_ends_a_fault_ends_the_command_beside_it(shop: Env, ends: signal.Signals | str) -> None:
    """A signal and `shop fault stop` undo a fault with `--while`, and end the command with all that it has started."""
    freezing = await begun(shop, "freeze", "mailer", "--while", "sleep 300 & echo sleeps $!; wait; true")
    assert freezing.stdout is not None
    while not (line := await freezing.stdout.readline()).startswith(b"sleeps"):
        assert line, "it ended before the command began"
    if isinstance(ends, str):
        code, output = await fault(shop, "stop")
        assert (code, "undone: freeze mailer" in output) == (0, True)
    else:
        freezing.send_signal(ends)
    # Its output ends when `sleep` has ended, too.
    output_, _ = await asyncio.wait_for(freezing.communicate(), 30)
    assert (freezing.returncode, b"undone: mailer went on" in output_) == (143, True)
    assert process_state(shop, "mailer") != "T"


@with_the_shop
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_a_clock_that_is_set_is_right_again(shop: Env, number: signal.Signals) -> None:
    """Orders are placed at the time that their process has, an hour ahead; however the command ends, it is right."""
    async with httpx.AsyncClient(base_url=gateway_of(shop), timeout=60) as http:
        form = {"username": "demo@shop.test", "password": "demo"}
        token = (await http.post("/v1/auth/token", data=form)).json()["access_token"]

        async def ahead() -> float:
            """Seconds by which an order is placed after now."""
            headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": uuid.uuid4().hex}
            order = {"items": [{"product_id": "3", "quantity": 1}]}
            answer = await http.post("/v1/orders", json=order, headers=headers)
            assert answer.status_code == 202, answer.text
            placed_at = datetime.fromisoformat(answer.json()["placed_at"])
            return (placed_at - datetime.now(UTC)).total_seconds()

        assert abs(await ahead()) < 60
        # The token outlives half of that.
        setting = await begun(shop, "clock", "orders", "ahead=10min", "--for", "300")

        async def wrong() -> bool:
            return await ahead() > 500

        await eventually(wrong, within=60)
        setting.send_signal(number)
        output, _ = await setting.communicate()

        async def right() -> bool:
            return abs(await ahead()) < 60

        await eventually(right, within=60)
    if number == signal.SIGINT:
        assert "undone: orders: the clock is right; it was read " in output.decode()


@with_the_shop
async def test_a_clock_that_none_has_is_refused(shop: Env) -> None:
    """The legacy ERP's clock is its own; a jump has one direction and a unit."""
    for words in (["legacy_soap", "ahead=1h"], ["orders"], ["ahead=1h", "behind=1h"], ["ahead=soon"], ["ahead=400d"]):
        code, output = await fault(shop, "clock", *words)
        assert (code, "clock" in output or "time" in output) == (2, True), output


@with_the_shop
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs prlimit (Linux)")
async def test_a_full_database_takes_no_byte_more(shop: Env) -> None:
    """Orders get 503 and when to come again; afterwards they are accepted, and the limits are as before."""
    order = {"items": [{"product_id": "3", "quantity": 1}]}
    pids = {each.name: each.pid for each in state.read(Path(shop["SHOP_DATA_DIR"]))}
    before = limits(pids["orders"])
    async with httpx.AsyncClient(base_url=gateway_of(shop), timeout=60) as http:
        form = {"username": "demo@shop.test", "password": "demo"}
        token = (await http.post("/v1/auth/token", data=form)).json()["access_token"]

        async def placed() -> httpx.Response:
            headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": uuid.uuid4().hex}
            return await http.post("/v1/orders", json=order, headers=headers)

        assert (await placed()).status_code == 202
        filling = await begun(shop, "database", "full", "orders", "--for", "300")

        async def refused() -> bool:
            answer = await placed()
            return answer.status_code == 503 and "retry-after" in answer.headers

        await eventually(refused, within=60)
        filling.send_signal(signal.SIGKILL)
        await filling.communicate()

        async def accepted() -> bool:
            return (await placed()).status_code == 202

        await eventually(accepted, within=60)
    assert limits(pids["orders"]) == before


@with_the_shop
@pytest.mark.parametrize(
    ("words", "toxic"),
    [(("link", "gateway:orders", "delay=10ms"), "gateway->orders"), (("erp", "maintenance"), "maintenance")],
)
@pytest.mark.parametrize("ends", ["killed", "mute"])
async def test_no_fault_outlives_its_command(shop: Env, words: tuple[str, ...], toxic: str, ends: str) -> None:
    """One that is killed is undone by its guard; one whose output is closed undoes its fault before it says so."""

    async def broken() -> bool:
        if words[0] == "erp":
            async with httpx.AsyncClient(timeout=60) as http:
                found = await http.get(Ground.of(shop).env["SHOP_LEGACY_SOAP_URL"] + "/_faults")
                return bool(found.json()[toxic])
        links = Ground.of(shop).links
        return any(toxic in fault["links"] for fault in links.faults())

    async def mended() -> bool:
        return not await broken()

    if ends == "mute":
        readable, writable = os.pipe()
        os.close(readable)
        command = (sys.executable, "-m", "shop", "fault", *words, "--for", "0.2")
        process = await asyncio.create_subprocess_exec(*command, env=dict(shop), stdout=writable)
        os.close(writable)
        await process.wait()
    else:
        process = await begun(shop, *words, "--for", "300")
        await eventually(broken, within=60)
        process.kill()
        await process.communicate()
    await eventually(mended, within=60)


# `shop fault …`, killed as soon as its links are broken.
KILLED_AT_ONCE = """
import os, runpy, signal, sys
from shop.fault.links.client import Links
breaking = Links.set
def killed(*given, **named):
    breaking(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)
Links.set = killed
sys.argv = ["shop", "fault", *sys.argv[1:]]
runpy.run_module("shop", run_name="__main__")
"""


@with_the_shop
async def test_a_link_is_mended_however_soon_its_command_is_killed(shop: Env) -> None:
    """The guard can undo the fault from its first moment on."""
    words = ("link", "gateway:orders", "delay=10ms", "--for", "300")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED_AT_ONCE, *words, env=dict(shop))
    assert await process.wait() == -signal.SIGKILL
    links = Ground.of(shop).links
    await eventually(lambda: not any("gateway->orders" in fault["links"] for fault in links.faults()), within=60)


@with_the_shop
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs prlimit (Linux)")
async def test_a_database_is_not_filled_twice(shop: Env) -> None:
    """The second would take the first one's limit for the one to go back to; it is refused."""
    pid = next(each.pid for each in state.read(Path(shop["SHOP_DATA_DIR"])) if each.name == "orders")
    before = limits(pid)
    filling = await begun(shop, "database", "full", "orders", "--for", "300")
    await eventually(lambda: limits(pid) != before, within=60)
    code, output = await fault(shop, "database", "full", "orders", "--for", "0.2")
    assert (code, "full already" in output) == (2, True), output
    filling.send_signal(signal.SIGINT)
    await filling.communicate()
    assert limits(pid) == before


@with_the_shop
async def test_stop_ends_what_is_at_work(shop: Env) -> None:
    """Each fault undoes what it did; then there is nothing to stop."""
    running = [await begun(shop, "link", "gateway:orders", "delay=10ms", "--for", "300")]
    running.append(await begun(shop, "erp", "maintenance", "--for", "300"))

    async def both() -> bool:
        return len(json.loads((await fault(shop, "list", "--json"))[1])["at_work"]) == 2

    await eventually(both, within=60)
    code, output = await fault(shop, "stop")
    assert (code, output.count("undone")) == (0, 2)
    for each in running:
        assert b"undone" in (await each.communicate())[0]
    assert (await fault(shop, "stop"))[1].strip() == "nothing was broken on purpose"


@with_the_shop
async def test_forged_webhooks_are_a_success_of_the_fault(shop: Env) -> None:
    """They are refused, as they should be: that is what they met, and the exit code is 0."""
    code, output = await fault(shop, "partner", "forged", "count=3")
    assert (code, "3 answered 401" in output, "affected: 3" in output) == (0, True, True)


def test_a_partner_signs_with_the_secret_that_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `shop partner send` does: with the first of the setting's, and with the shop's own where none is set."""
    signed: list[str] = []

    def examples(_provider: str, *, secret: str, **_: object) -> Never:
        signed.append(secret)
        raise ValueError("enough")

    monkeypatch.setattr("partners.senders.examples", examples)
    own = keyring.load(tmp_path, TABLE).webhooks["SHOPIFY"]
    held = lock.hold(tmp_path)
    state.write(tmp_path, [ProcessState("webhooks", os.getpid(), State.READY, 0)])
    for given in ({"SHOP_WEBHOOK_SECRET_SHOPIFY": "first,second"}, {}):
        env = {"SHOP_DATA_DIR": str(tmp_path), **given}
        with pytest.raises(Refused, match="enough"):
            parse("partner duplicate", Ground.of(env)).begin()
        with environment(env), pytest.raises(Refused, match="enough"):
            send(Provider.SHOPIFY)
    assert signed == ["first", "first", own, own]
    os.close(held)


@with_the_shop
async def test_poison_becomes_dead_letters_that_are_dropped(shop: Env) -> None:
    """The queue is as it was."""
    code, output = await fault(shop, "poison", "order-mail")
    assert (code, "3 of 3 became dead letters" in output) == (0, True)


@with_the_shop
@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["kill", "ordres"], "name processes of the shop"),
        (["link", "gateway:ordres", "reset"], "known links"),
        (["link", "gateway:orders", "dealy=5ms"], "unknown toxic dealy"),
        (["link", "gateway"], "in quotes"),
        (["erp", "angry"], "maintenance"),
        (["database", "down"], "orders"),
        (["partner", "rude"], "duplicate"),
        (["partner", "flood", "count=many"], "count=many"),
        (["partner", "late", "provider=paypal"], "stripe|github"),
        (["erp", "delay=infs"], "delay=800ms"),
        (["poison", "mailbox"], "order-processing"),
        (["run", "no-such"], "shop fault list"),
    ],
)
async def test_what_makes_no_sense_is_refused(shop: Env, words: list[str], advice: str) -> None:
    """With exit code 2, and what to write instead."""
    code, output = await fault(shop, *words)
    assert (code, advice in output) == (2, True), output


@with_the_shop
async def test_nothing_is_broken_in_production(shop: Env) -> None:
    """Every fault and every scenario is refused."""
    for words in (["kill", "orders"], ["run", "kill-order_worker"], ["partner", "flood"]):
        code, output = await fault({**shop, "SHOP_ENV": "production"}, *words)
        assert (code, "SHOP_ENV=production" in output) == (2, True)


@with_the_shop
async def test_list_shows_every_fault_and_scenario(shop: Env) -> None:
    """With its usage, and with its sentence."""
    code, output = await fault(shop, "list")
    assert code == 0
    told = " ".join(output.split())  # in lines of a terminal
    assert [usage for usage, _ in KINDS.values() if usage not in told] == []
    assert "kill-order_worker: order_worker is killed" in told


SCENARIO = """
sentence = "Tried."
promises = ["nothing-lost", "recovers"]
recover_within_s = {limit}
load = {{ orders_per_s = 4, for_s = 3, listeners = 0 }}
faults = [{{ at_s = 1, for_s = 1, do = "{fault}" }}]
"""


@with_the_shop
@pytest.mark.parametrize(
    ("words", "limit", "code", "verdict"),
    [
        ("link gateway->orders delay=50ms", 60, 0, "kept"),
        ("freeze order_worker", 0.001, 1, "broken"),
        ("link 'graphql_server->notifier' reset", 60, 2, "void"),
    ],
)
async def test_a_scenario_ends_with_a_verdict(
    shop: Env, tmp_path: Path, words: str, limit: float, code: int, verdict: str
) -> None:
    """0 kept, 1 broken, 2 void where the fault met no traffic; and its JSON can be run again."""
    file = tmp_path / "tried.toml"
    file.write_text(SCENARIO.format(fault=words, limit=limit))
    found, output = await fault(shop, "run", str(file), "--json")
    result = json.loads(output)
    assert (found, result["verdict"], result["exit_code"]) == (code, verdict, code), output
    assert (result["bites"][0]["met"] > 0) == (verdict != "void")
    assert {each["checked"] > 0 for each in result["promises"]} == {True}
    if code == 0:
        again = tmp_path / "result.json"
        again.write_text(output)
        assert (await fault(shop, "replay", str(again)))[0] == 0
