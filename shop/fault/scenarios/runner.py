"""Runs a scenario on a shop: the load, the schedule of faults beside it, and the judgement."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import aiohttp
import httpx

from chassis.errors import ShopError
from chassis.settings import environment
from shop.audit import Report, Settings, audit_running_shop
from shop.audit.report import Entry
from shop.errors import Refused
from shop.fault.faults.grammar import parse
from shop.fault.faults.ground import Fault, Ground
from shop.fault.faults.processes import OfProcesses
from shop.fault.scenarios.load import Attempt, Clients, Customer
from shop.fault.scenarios.promises import PROMISES, Evidence, judge
from shop.fault.scenarios.result import Bite, Result, routes, slowest, verdict
from shop.fault.scenarios.scenario import Planned, Scenario

# Seconds of load after the last fault, and between audits.
_AFTERWARDS = 2.0
_MAX_AFTERWARDS = 20.0
_POLL = 0.2
# Seconds for which a process is waited for to be at work, and between two looks.
_AT_WORK_TIMEOUT = 5.0
_AT_WORK_POLL = 0.05
_AUDIT_TIMEOUT = 20.0
_XRAY = "{}/?trace={}#order"
_NO_TRAFFIC = "the shop at {} refuses new customers: {}"


def missing(scenario: Scenario, env: Mapping[str, str]) -> list[str]:
    """The scenario's requirements that this shop does not meet."""
    rabbitmq = env.get("SHOP_BROKER_URL", "").startswith("amqp")
    postgresql = env.get("SHOP_DATABASE_URL", "").startswith("postgres")
    there = {"rabbitmq": rabbitmq, "embedded": not rabbitmq, "postgresql": postgresql, "sqlite": not postgresql}
    return [need for need in scenario.needs if not there[need]]


async def run(scenario: Scenario, ground: Ground) -> Result:
    """Run it, undo everything, and judge. Raises `Refused` where the shop cannot be used for it."""
    if not ground.lab:
        raise Refused(f"the shop in {ground.data_dir} has no links that count traffic: start it with `shop up --lab`")
    if needs := missing(scenario, ground.env):
        raise Refused(f"{scenario.name} needs {', '.join(needs)}, on which this shop does not run")
    if unknown := set(scenario.promises) - PROMISES.keys():
        raise Refused(f"unknown promises {', '.join(sorted(unknown))}; known: {', '.join(PROMISES)}")
    faults = [parse(planned.do, ground) for planned in scenario.faults]
    settings = _settings(ground.env)
    before = await _audit(settings, wait=0)
    admin = settings.audit_email, settings.audit_password
    customer = Customer(ground, scenario.load, scenario.seed, admin=admin)
    try:
        try:
            await customer.open()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Refused(_NO_TRAFFIC.format(ground.env["SHOP_GATEWAY_URL"], error or "no answer")) from error
        bites, began, ended = await _broken(scenario, faults, customer)
        await customer.settled(scenario.recover_within_s)
    finally:
        await customer.close()
    audit = await _audit(settings, wait=_AUDIT_TIMEOUT)
    recovered = _recovered(customer.seen, ended)
    known = frozenset(_entries(before))
    evidence = Evidence(scenario, customer.seen, audit, known, began, ended, recovered)
    return await _result(evidence, bites, ground)


async def _broken(scenario: Scenario, faults: Sequence[Fault], customer: Customer) -> tuple[list[Bite], float, float]:
    """The load with the faults beside it: what they met, and when the first began and the last ended."""
    start, over = time.monotonic(), asyncio.Event()
    load = asyncio.ensure_future(customer.work(over))
    try:
        steps = zip(scenario.faults, faults, strict=True)
        bites = await asyncio.gather(*(_bite(planned, fault, start) for planned, fault in steps))
        began, ended = (start + min(b.at_s for b in bites)), (start + max(b.until_s for b in bites))
        lasts = max(start + scenario.load.for_s, ended + _AFTERWARDS)
        await asyncio.sleep(max(0.0, lasts - time.monotonic()))
        # What failed last is tried again for a while: a route without requests has not recovered.
        longest = ended + min(scenario.recover_within_s, _MAX_AFTERWARDS)
        while customer.seen.failing and time.monotonic() < longest:  # noqa: ASYNC110 - what clients see is no event
            await asyncio.sleep(_POLL)
        over.set()
        await load
    finally:
        over.set()
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
    return list(bites), began, ended


async def _bite(planned: Planned, fault: Fault, start: float) -> Bite:
    await asyncio.sleep(max(0.0, start + planned.at_s - time.monotonic()))
    if isinstance(fault, OfProcesses):
        await _at_work(fault)
    at = time.monotonic() - start
    beginning = asyncio.ensure_future(asyncio.to_thread(fault.begin))
    try:
        begun = await asyncio.shield(beginning)
        await asyncio.sleep(0 if fault.momentary else planned.for_s)
    finally:
        # Also when this run is interrupted: what is broken is mended first.
        await asyncio.wait([beginning])
        if beginning.exception() is None:
            ending = asyncio.ensure_future(asyncio.to_thread(fault.end))
            await asyncio.wait([ending])
    undone = ending.result()
    met = await asyncio.to_thread(fault.met)
    return Bite(planned.do, at, time.monotonic() - start, met or 0, begun, undone)


async def _at_work(fault: OfProcesses) -> None:
    """Wait for a moment at which the fault meets traffic: not every process works all the time.

    After some seconds it begins all the same, and is void if it meets nothing.
    """
    latest = time.monotonic() + _AT_WORK_TIMEOUT
    while time.monotonic() < latest and not await asyncio.to_thread(fault.met_now):  # noqa: ASYNC110 - counts are no event
        await asyncio.sleep(_AT_WORK_POLL)


def _recovered(seen: Clients, ended: float) -> float | None:
    """Seconds from the last fault's end until nothing failed any more and all that was accepted by then had ended.

    None where that did not happen.
    """
    failed = [each.due + each.seconds for each in seen.attempts if each.failed and each.due + each.seconds > ended]
    waiting = [order.settled for order in seen.accepted if order.accepted is not None and order.accepted <= ended]
    fine_after = [each for each in seen.attempts if not each.failed and each.due > ended]
    if any(settled is None for settled in waiting) or not fine_after or seen.failing:
        return None
    return max(0.0, max([ended, *failed, *(settled for settled in waiting if settled is not None)]) - ended)


async def _result(evidence: Evidence, bites: list[Bite], ground: Ground) -> Result:
    judged = judge(evidence)
    seen = evidence.clients
    verdict_, reasons = verdict(bites, judged, seen.skipped)
    console = ground.env["SHOP_CONSOLE_URL"]
    traces = {id_: order.trace_id for order in seen.accepted for id_ in order.ids}
    examples = {
        each.name: _XRAY.format(console, traces[each.counterexample])
        for each in judged
        if not each.kept and each.counterexample in traces
    }
    quick, slow = slowest(seen.accepted)
    ours: list[Attempt] = seen.attempts
    return Result(
        evidence.scenario,
        verdict_,
        reasons,
        bites,
        judged,
        routes(ours, evidence.began, evidence.ended),
        evidence.recovered_s,
        len(seen.orders),
        len(seen.accepted),
        await _dropped(console, list(traces.values())),
        examples,
        _XRAY.format(console, quick.trace_id) if quick else "",
        _XRAY.format(console, slow.trace_id) if slow else "",
        seen.skipped,
    )


async def _dropped(console: str, traces: Sequence[str]) -> int | None:
    """Deliveries that an inbox has dropped as duplicates, by the traces; None where the console does not answer."""
    count = 0
    with suppress(httpx.HTTPError):
        async with httpx.AsyncClient(base_url=console, timeout=15, trust_env=False) as http:
            for trace in traces:
                answer = await http.get(f"/api/traces/{trace}")
                count += answer.text.count('"duplicate_dropped"')
        return count
    return None


def _settings(env: Mapping[str, str]) -> Settings:
    """The audit's settings, which it reads from an environment."""
    with environment({**os.environ, **env}):
        return Settings()


async def _audit(settings: Settings, *, wait: float) -> Report | None:
    try:
        return await audit_running_shop(settings, wait=wait)
    except (ShopError, httpx.HTTPError):
        return None


def _entries(report: Report | None) -> list[Entry]:
    return [] if report is None else [entry for entries in report.listed.values() for entry in entries]
