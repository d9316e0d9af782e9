"""`shop fault`: break the shop on purpose, and get a verdict."""

from __future__ import annotations

import asyncio
import json as jsonlib
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated

import typer

from shop.errors import Refused

if TYPE_CHECKING:
    from shop.fault.links.client import Links
    from shop.fault.scenarios.result import Result
    from shop.fault.scenarios.scenario import Scenario

app = typer.Typer(help="Break the shop on purpose, and get a verdict.", no_args_is_help=True, add_completion=False)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Words = Annotated[list[str], typer.Argument(help="The fault and its options.")]
_For = Annotated[float, typer.Option("--for", min=0.1, max=3600, help="Seconds until it is undone.")]
_While = Annotated[
    str,
    typer.Option(
        "--while", metavar="COMMAND", help="Run it while the fault is at work, then undo the fault; instead of --for."
    ),
]
# Seconds for which a link is watched at a time while a command runs.
_WATCH = 600.0
_NOT_IN_PRODUCTION = "faults are refused where SHOP_ENV=production: use a shop of your own, `shop up --lab`"


@app.command("list")
def list_(*, json: _Json = False) -> None:
    """List the known faults, the scenarios of the suite, and the faults at work now.

    Exit code 0: listed.
    """
    from shop.fault.at_work import at_work
    from shop.fault.faults.grammar import KINDS
    from shop.fault.scenarios.scenario import suite
    from shop.urls import data_dir

    scenarios, working = suite(), at_work(data_dir(os.environ))
    if json:
        links, processes = _breakable()
        content = {
            "faults": {name: {"usage": usage, "does": does} for name, (usage, does) in KINDS.items()},
            "scenarios": {name: each.sentence for name, each in scenarios.items()},
            "at_work": working,
            "links": links,
            "processes": processes,
        }
        typer.echo(jsonlib.dumps(content, indent=2))
        return
    width = get_terminal_size().columns
    typer.echo("Break one thing (shop fault ...):")
    for usage, does in KINDS.values():
        typer.echo(_wrapped(f"  {usage}", width, indent=8))
        typer.echo(_wrapped(f"      {does}", width, indent=6))
    typer.echo("\nRun a scenario, with a verdict (shop fault run NAME):")
    for name, scenario in scenarios.items():
        typer.echo(_wrapped(f"  {name}: {scenario.sentence}", width, indent=6))
    typer.echo("")
    typer.echo("\n".join(f"at work: {words}" for words in working) or "nothing is broken on purpose just now")


def _breakable() -> tuple[list[str], list[str]]:
    """Links and processes of the shop that runs here; none where none does, or without a lab."""
    from shop.fault.faults.ground import Ground
    from shop.process_table import TABLE

    try:
        ground = Ground.of(os.environ)
        return list(ground.links.all()), [spec.name for spec in TABLE]
    except Refused:
        return [], []


def _wrapped(text: str, width: int, *, indent: int) -> str:
    return textwrap.fill(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


@app.command()
def run(
    scenario: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A scenario of the suite, or a file with one.")],
    *,
    json: _Json = False,
    shrink: Annotated[bool, typer.Option(help="Look for the shortest schedule that still breaks a promise.")] = True,
) -> None:
    """Run a scenario on the shop that runs with a lab, or on one that is started for it, and print the verdict.

    Exit code 0: every promise was kept. 1: one was broken. 2: void, for a fault met no traffic or nothing was checked;
    or refused.
    """
    _run(_scenario(scenario), json=json, shrink=shrink)


@app.command()
def replay(file: Path, *, json: _Json = False) -> None:
    """Run a scenario again from what `run --json` has printed: the same seed, load and schedule.

    Exit code as of `run`.
    """
    from shop.fault.scenarios.scenario import read

    _run(read(file), json=json, shrink=False)


@app.command()
def stop() -> None:
    """End every fault at work in this shop, and undo its effects.

    Exit code 0: all ended. 1: one has not ended in time.
    """
    from shop.fault.at_work import stop_all
    from shop.urls import data_dir

    stopped, left = stop_all(data_dir(os.environ))
    typer.echo("\n".join(f"undone: {words}" for words in stopped) or "nothing was broken on purpose")
    for words in left:
        typer.echo(f"has not ended: {words}", err=True)
    raise typer.Exit(1 if left else 0)


@app.command()
def watch(
    link: Annotated[str, typer.Argument(metavar="A:B", help="The link, as in gateway:orders.")],
    *,
    seconds: _For = 10.0,
    command: Annotated[
        str, typer.Option("--while", metavar="COMMAND", help="Watch while it runs; instead of --for.")
    ] = "",
    json: _Json = False,
) -> None:
    """Watch a link for a while, and print the frames that crossed it: heads without secrets, bodies counted.

    Exit code 0: printed (maybe none). 2: there is no such link, or no lab.
    """
    from shop.fault.links.client import Links
    from shop.started_shop import unwound_by_signals
    from shop.urls import data_dir
    from shop.user_command import run_shell

    if os.environ.get("SHOP_ENV") == "production":
        raise Refused(_NOT_IN_PRODUCTION)
    name = link if "->" in link else link.replace(":", "->", 1)
    with Links(data_dir(os.environ)) as links, unwound_by_signals():
        links.watch(name, _WATCH if command else seconds)
        if command:
            run_shell(command, over=_watching_on(links, name))
        else:
            time.sleep(seconds)
        frames = links.frames(name)
    if json:
        typer.echo(jsonlib.dumps({"frames": frames}, indent=2))
        return
    for each in frames:
        arrow = "->" if each["direction"] == "request" else "<-"
        typer.echo(f"{each['connection']:>4} {arrow} {each['protocol']:<8} {each['size']:>7} B  {each['what']}")
        for field, value in each["fields"]:
            typer.echo(f"             {field}: {value}")
    typer.echo(f"{len(frames)} frames crossed {name}")


def _watching_on(links: Links, name: str) -> Callable[[], bool]:
    """A function that returns False, for a command that is not over, and has its link watched for as long."""
    due = time.monotonic() + _WATCH / 2

    def over() -> bool:
        nonlocal due
        if time.monotonic() >= due:
            links.watch_on(name, _WATCH)
            due = time.monotonic() + _WATCH / 2
        return False

    return over


def _single(words: list[str], seconds: float, command: str) -> None:
    """One fault, for a while, until Ctrl-C or while a command runs; exit code 0 when it is undone, or the command's.

    What ends the fault before its time, a signal or the end of the shop, ends the command, too.
    """
    from shop.fault.at_work import lasting
    from shop.fault.faults.grammar import parse
    from shop.fault.faults.ground import Ground
    from shop.user_command import run_shell

    ground = Ground.of(os.environ)
    fault = parse(" ".join(words), ground)
    code = 0
    with lasting(ground, fault) as time_left:
        begun = fault.begin()
        try:
            typer.echo(begun)
            if command:
                code = run_shell(command, over=time_left.over, interrupted=time_left.interrupted)
            elif not fault.momentary:
                typer.echo(f"for {seconds:g} s; Ctrl-C ends it")
                time_left.wait(seconds)
        finally:
            # First undone, and then printed: the output may be closed.
            undone = fault.end()
        typer.echo(f"undone: {undone}")
    met = fault.met()
    typer.echo("affected traffic was not counted; `shop up --lab` counts more" if met is None else f"affected: {met}")
    raise typer.Exit(code)


def _add(name: str, summary: str, usage: str) -> None:
    """A command for a kind of fault, whose words are the rest of the line."""

    def fault(words: _Words, *, seconds: _For = 10.0, command: _While = "") -> None:
        _single([name, *words], seconds, command)

    fault.__doc__ = (
        f"{summary}: {usage}.\n\nExit code 0: done, and undone. 2: refused, and nothing was broken. "
        "With --while: the command's own; 143 where the fault was stopped before it had ended."
    )
    app.command(name)(fault)


_add("kill", "Kill processes; the supervisor restarts them", "kill PROCESS… [signal=15]")
_add("freeze", "Pause processes: alive, connected and silent", "freeze PROCESS…")
_add(
    "link",
    "Break one link between two processes",
    "link A:B delay=50ms | jitter=20ms | rate=10kb/s | cut=9 | reset | black-hole | half-open | refuse | alarm",
)
_add("broker", "Make the broker unavailable or slow", "broker down | slow | silent | alarm")
_add("database", "Make databases unavailable or slow", "database down | slow | silent | full [SERVICE]")
_add("erp", "Make the ERP misbehave", "erp delay=500ms | maintenance | html | contract-changed")
_add("partner", "Send webhooks with a fault", "partner duplicate | late | forged | out-of-order | slow | flood")
_add("clock", "Set the clock of processes, or of all", "clock [PROCESS…] ahead=1h | behind=10min")
_add("poison", "Publish events that no consumer can read", "poison QUEUE")


def _scenario(name: str) -> Scenario:
    from shop.fault.scenarios.scenario import read, suite

    if Path(name).suffix in (".toml", ".json"):
        return read(Path(name))
    known = suite()
    if name not in known:
        raise Refused(f"unknown scenario {name}; `shop fault list` shows them, and a file ends in .toml or .json")
    return known[name]


def _run(scenario: Scenario, *, json: bool, shrink: bool) -> None:
    from shop.fault.scenarios.result import Verdict

    if os.environ.get("SHOP_ENV") == "production":
        raise Refused(_NOT_IN_PRODUCTION)
    with _ground(os.environ) as env:
        result = _once(scenario, env)
        shrunk = _shortest(result, env) if shrink and result.verdict is Verdict.BROKEN else None
    if json:
        content = result.as_dict()
        typer.echo(jsonlib.dumps({**content, **({"shortest": shrunk.scenario.as_dict()} if shrunk else {})}, indent=2))
    else:
        typer.echo(result.as_text())
        if shrunk:
            steps = "; ".join(f"at {each.at_s:g} s {each.do}" for each in shrunk.scenario.faults)
            typer.echo(f"  the shortest schedule that still breaks it (seed {shrunk.scenario.seed}): {steps}")
    raise typer.Exit(result.exit_code)


def _once(scenario: Scenario, env: Mapping[str, str]) -> Result:
    from shop.fault.faults.ground import Ground
    from shop.fault.scenarios.runner import run as run_scenario

    return asyncio.run(run_scenario(scenario, Ground.of(env)))


def _shortest(result: Result, env: Mapping[str, str]) -> Result:
    from shop.fault.scenarios.shrink import shortest

    return shortest(result, lambda scenario: _once(scenario, env))


@contextmanager
def _ground(env: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """The shop that runs here with a lab; where none runs, one for this time."""
    from shop.fault.faults.ground import Ground
    from shop.fault.scenarios.own_shop import own_shop

    try:
        Ground.of(env)
    except Refused:
        sys.stderr.write("no shop runs here: starting one to break\n")
        with own_shop(env) as own:
            yield own
        return
    with nullcontext(env):
        yield env
