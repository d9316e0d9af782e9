"""The fault suite: `make faults`, or `make faults ARGS=quick`, or with names of scenarios.

`lanes=2` shares the scenarios out to that many shops side by side: most of a scenario is waiting, not work.

With `mutants` (and names of some) it breaks the code instead, and each promise has to notice.

Each shop serves many scenarios, one after the other; one in which a promise was broken is thrown away. Results go to
`build/faults/NAME.json`, which `shop fault replay` takes. Exit code 0: all kept; 1: one was broken; 2: one was void.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from chassis.broker.port import Topology
from chassis.settings import TOPOLOGY
from shop.errors import Refused
from shop.fault.faults.ground import Ground
from shop.fault.scenarios.own_shop import own_shop
from shop.fault.scenarios.result import EXIT_CODES, Result, Verdict
from shop.fault.scenarios.runner import run
from shop.fault.scenarios.scenario import Scenario, suite
from shop.fault.scenarios.shrink import shortest
from tests.conftest import POSTGRES_URL, RABBITMQ_URL, own_postgres
from tests.faults import mutation
from tests.faults import promises_page as promises
from tests.rabbitmq import own_rabbitmq

_RESULTS = Path("build/faults")
_SERVED = {"rabbitmq", "postgresql"}
_CONNECT_TIMEOUT = 2.0
_LANES = "lanes="
# Seconds that a scenario goes on after its last fault, and that its audits and the last orders take.
_AFTER_A_FAULT, _BEFORE_AND_AFTER = 2.0, 6.0


def main(arguments: Sequence[str]) -> int:
    """Run the suite, its quick part, or the scenarios named."""
    if arguments[:1] == ["mutants"]:
        return _mutants(arguments[1:])
    known = suite()
    lanes = next((int(word.removeprefix(_LANES)) for word in arguments if word.startswith(_LANES)), 1)
    arguments = [word for word in arguments if not word.startswith(_LANES)]
    names = [name for name in arguments if name != "quick"]
    if unknown := [name for name in names if name not in known]:
        raise Refused(f"unknown scenarios {', '.join(unknown)}; known: {', '.join(known)}")
    chosen = [each for each in known.values() if each.name in names or not names]
    if "quick" in arguments:
        chosen = [each for each in chosen if each.quick]
    if not chosen:
        raise Refused("no scenario is both: `quick` and named")
    if lanes > 1:
        return _side_by_side(_shared_out(chosen, lanes))
    on_files = [each for each in chosen if not _SERVED & set(each.needs)]
    on_servers = [each for each in chosen if _SERVED & set(each.needs)]
    began = time.monotonic()
    verdicts = _on({}, on_files)
    if on_servers and (missing := asyncio.run(_missing())):
        sys.stdout.write(f"NOT RUN ({len(on_servers)}): {missing}: {', '.join(each.name for each in on_servers)}\n")
    elif on_servers:
        verdicts += asyncio.run(_on_servers(on_servers))
    told = ", ".join(f"{verdicts.count(each)} {each}" for each in Verdict if each in verdicts) or "nothing ran"
    sys.stdout.write(f"{len(verdicts)} scenarios in {time.monotonic() - began:.0f} s: {told}\n")
    return next((EXIT_CODES[each] for each in (Verdict.BROKEN, Verdict.VOID) if each in verdicts), 0)


def _shared_out(scenarios: Sequence[Scenario], lanes: int) -> list[list[str]]:
    """Names for each lane: those on servers stay together, so that one lane alone starts a shop there."""
    shares: list[list[Scenario]] = [[] for _ in range(lanes)]
    served = [each for each in scenarios if _SERVED & set(each.needs)]
    shares[-1] += served
    for each in sorted((each for each in scenarios if each not in served), key=_expected, reverse=True):
        min(shares, key=lambda share: sum(map(_expected, share))).append(each)
    return [[each.name for each in share] for share in shares if share]


def _expected(scenario: Scenario) -> float:
    """Seconds that a scenario takes when all goes well: its load or its last fault, and what comes after."""
    faults = max(each.at_s + each.for_s for each in scenario.faults)
    return max(scenario.load.for_s, faults + _AFTER_A_FAULT) + _BEFORE_AND_AFTER


def _side_by_side(shares: Sequence[Sequence[str]]) -> int:
    """Run each share in a process of its own; the worst exit code, for BROKEN is worse than VOID."""
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.faults.suite"]
    running = [subprocess.Popen([*command, *share]) for share in shares]
    try:
        codes = [each.wait() for each in running]
    except BaseException:
        for each in running:
            each.terminate()
            each.wait()
        raise
    sys.stdout.write(f"{len(shares)} lanes in {time.monotonic() - began:.0f} s\n")
    return next((code for code in (1, 2) if code in codes), max(codes))


def _mutants(names: Sequence[str]) -> int:
    """Try mutants on files, and those that need servers on servers; 1: one was not caught."""
    _RESULTS.mkdir(parents=True, exist_ok=True)
    env = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    survivors = mutation.try_all(names, env, _RESULTS, served=False)
    if any(
        _SERVED & set(each.scenario.needs) for name, each in mutation.mutants().items() if not names or name in names
    ):
        if missing := asyncio.run(_missing()):
            sys.stdout.write(f"NOT RUN: mutants that need servers: {missing}\n")
        else:
            survivors += asyncio.run(_mutants_on_servers(names, env))
    promises.write()
    return 1 if survivors else 0


async def _mutants_on_servers(names: Sequence[str], env: Mapping[str, str]) -> int:
    async with _servers() as servers:
        return await asyncio.to_thread(mutation.try_all, names, {**env, **servers}, _RESULTS, served=True)


async def _on_servers(scenarios: Sequence[Scenario]) -> list[Verdict]:
    async with _servers() as env:
        return await asyncio.to_thread(_on, env, scenarios)


@asynccontextmanager
async def _servers() -> AsyncIterator[Mapping[str, str]]:
    """Queues and databases of this run's own on RabbitMQ and PostgreSQL."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(own_rabbitmq(Topology.load(TOPOLOGY)))
        yield {
            "SHOP_BROKER_URL": broker,
            "SHOP_DATABASE_URL": await stack.enter_async_context(own_postgres()),
        }


async def _missing() -> str:
    """Why nothing can run on servers here; empty where it can."""
    for url in (RABBITMQ_URL, POSTGRES_URL):
        parts = urlsplit(url)
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(parts.hostname, parts.port), _CONNECT_TIMEOUT)
        except (OSError, TimeoutError):
            return f"nothing listens at {parts.hostname}:{parts.port}"
        writer.close()
    return ""


def _on(servers: Mapping[str, str], scenarios: Sequence[Scenario]) -> list[Verdict]:
    """Run scenarios on one shop, or on another after one that was broken."""
    verdicts: list[Verdict] = []
    left = list(scenarios)
    while left:
        with _shop(servers) as ground:
            while left:
                scenario = left.pop(0)
                result = _tell(scenario, ground)
                verdicts.append(result.verdict)
                if result.verdict is Verdict.BROKEN:
                    break
    return verdicts


@contextmanager
def _shop(servers: Mapping[str, str]) -> Iterator[Ground]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    _RESULTS.mkdir(parents=True, exist_ok=True)
    log = _RESULTS / f"shop-on-{'servers' if servers else 'files'}-{os.getpid()}-{time.time():.0f}.log"
    with own_shop({**env, **servers}, log) as own:
        yield Ground.of(own)


def _tell(scenario: Scenario, ground: Ground) -> Result:
    began = time.monotonic()
    result = asyncio.run(run(scenario, ground))
    kept = next((each.text for each in result.promises if each.name == "nothing-lost"), "")
    seconds = time.monotonic() - began
    sys.stdout.write(f"{result.verdict:<6} {scenario.name:<32} {seconds:4.0f} s  {kept}\n")
    if result.verdict is not Verdict.KEPT:
        sys.stdout.write(f"{result.as_text()}\n")
    content = result.as_dict()
    if result.verdict is Verdict.BROKEN and len(scenario.faults) > 1:
        found = shortest(result, lambda fewer: asyncio.run(run(fewer, ground)))
        content["shortest"] = found.scenario.as_dict()
        steps = "; ".join(f"at {each.at_s:g} s {each.do}" for each in found.scenario.faults)
        sys.stdout.write(f"  the shortest schedule that still breaks it (seed {scenario.seed}): {steps}\n")
    sys.stdout.flush()
    (_RESULTS / f"{scenario.name}.json").write_text(json.dumps(content, indent=1))
    return result


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Refused as refusal:
        sys.exit(f"faults: {refusal}")
