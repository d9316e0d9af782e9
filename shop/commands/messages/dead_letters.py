"""`shop dead-letters`: what could not be handled, and what a person does about it."""

from __future__ import annotations

import asyncio
import json as jsonlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from chassis.broker.port import MAX_SEARCHED
from shop.commands.showing import moment
from shop.errors import Refused, nearest

if TYPE_CHECKING:
    from chassis.broker.port import Broker, DeadLetter

T = TypeVar("T")

app = typer.Typer(
    help="Show, replay or delete dead letters.",
    no_args_is_help=True,
    add_completion=False,
)

_Queue = Annotated[str, typer.Option(metavar="QUEUE", help="Only dead letters of this work queue.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Id = Annotated[str, typer.Argument(metavar="ID", help="The event's id, as `list` prints it.")]
_HEADINGS = f"{'id':<32}  {'died':<20}  queue, event and subject"


@app.command("list")
def list_(
    *,
    queue: _Queue = "",
    limit: Annotated[
        int, typer.Option(min=1, max=MAX_SEARCHED, help="Show at most this many of each queue, oldest first.")
    ] = 100,
    json: _Json = False,
) -> None:
    """List dead letters, the oldest of each queue first; a note shows which queues have more than --limit.

    Exit code 0: listed (maybe none). 2: no such queue, or the broker cannot be reached.
    """
    letters, cut_off = _with_broker(lambda broker: _letters(broker, queue, limit))
    if json:
        items = [_as_json(letter) for letter in letters]
        typer.echo(jsonlib.dumps({"items": items, "more": bool(cut_off)}, indent=2))
        return
    typer.echo(_HEADINGS if letters else "no dead letters")
    for letter in letters:
        what = f"{letter.event.type} of {letter.event.subject}"
        typer.echo(f"{letter.id:<32}  {moment(letter.died_at)}  {letter.queue}: {what}")
        typer.echo(f"    attempts: {letter.attempts}; {letter.reason}")
    if cut_off:
        typer.echo(f"there are more in {', '.join(cut_off)}: --queue QUEUE, --limit N")


@app.command()
def show(identifier: _Id, *, queue: _Queue = "") -> None:
    """Show a dead letter with its whole event, as JSON.

    Exit code 0: shown. 1: none has this id among the 10,000 oldest of a queue. 2: no such queue, or the broker
    cannot be reached.
    """
    found = _with_broker(lambda broker: _with_id(broker, queue, identifier))
    for letter in found:
        typer.echo(jsonlib.dumps(_as_json(letter), indent=2))
    _end(bool(found), queue, identifier)


@app.command()
def replay(
    identifier: Annotated[str, typer.Argument(help="The event's id; none with --all.")] = "",
    *,
    queue: _Queue = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Replay each dead letter of --queue, oldest first.")
    ] = False,
) -> None:
    """Put a dead letter back into its queue, as a first attempt; or all dead letters of a queue.

    Exit code 0: it is back; with --all, each one that was there. 1: none has this id among the 10,000 oldest of a
    queue. 2: no such queue, both or neither of an id and --all, or the broker cannot be reached.
    """
    if bool(identifier) is everything or (everything and not queue):
        raise Refused("give the id of one dead letter, or --queue QUEUE --all")
    if everything:
        count = _with_broker(lambda broker: _replay_all(broker, queue))
        typer.echo(f"{count} dead letters are back in {queue}")
        return
    done = _with_broker(lambda broker: _settle(queue, identifier, broker.replay_dead_letter))
    for name in done:
        typer.echo(f"{identifier} is back in {name}")
    _end(bool(done), queue, identifier)


@app.command()
def drop(identifier: _Id, *, queue: _Queue = "") -> None:
    """Delete a dead letter.

    Exit code 0: it is gone. 1: none has this id among the 10,000 oldest of a queue. 2: no such queue, or the broker
    cannot be reached.
    """
    done = _with_broker(lambda broker: _settle(queue, identifier, partial(_drop, broker)))
    for name in done:
        typer.echo(f"{identifier} is gone from {name}")
    _end(bool(done), queue, identifier)


def _end(found: bool, queue: str, identifier: str) -> None:  # it is the whole question
    if found:
        return
    cut_off = _with_broker(lambda broker: _cut_off(broker, queue))
    among = f" among the {MAX_SEARCHED:,} oldest of {', '.join(cut_off)}: replay or drop some of these first"
    typer.echo(f"no dead letter has the id {identifier}{among if cut_off else ''}", err=True)
    raise typer.Exit(1)


async def _cut_off(broker: Broker, queue: str) -> list[str]:
    """The queues that have more dead letters than were looked at."""
    wanted = _queues(queue)
    return [each.queue for each in await broker.depths() if each.queue in wanted and each.dead > MAX_SEARCHED]


def _with_broker(call: Callable[[Broker], Awaitable[T]]) -> T:
    async def run() -> T:
        async with opened() as broker:
            return await call(broker)

    return asyncio.run(run())


@asynccontextmanager
async def opened() -> AsyncIterator[Broker]:
    """The shop's broker, by the same settings as the processes have. Raises `Refused` when it cannot be reached."""
    from chassis.broker import connect
    from chassis.broker.port import BrokerUnavailable, Topology
    from chassis.settings import TOPOLOGY, ProcessSettings

    try:
        log_url = ProcessSettings().event_log_url
        broker = await connect(_existing(), Topology.load(TOPOLOGY), log_url=log_url)
        try:
            yield broker
        finally:
            await broker.close()
    except BrokerUnavailable as error:
        reason = str(error).removesuffix(": ")
        raise Refused(f"the broker cannot be reached: {reason}") from error


def _existing() -> str:
    """The broker's URL; looking into an embedded one must not create it."""
    from chassis.settings import ProcessSettings

    url = ProcessSettings().broker()
    scheme, _, path = url.partition(":")
    if scheme == "embedded" and not Path(path).exists():
        raise Refused(
            f"no broker found at {path}. Run this in the shop's directory, or set SHOP_DATA_DIR or SHOP_BROKER_URL"
        )
    return url


def _queues(queue: str) -> list[str]:
    from chassis.broker.port import Topology
    from chassis.settings import TOPOLOGY

    known = list(Topology.load(TOPOLOGY).queues)
    if queue and queue not in known:
        raise Refused(f'unknown queue "{queue}"{nearest(queue, known, "; known queues: " + ", ".join(known))}')
    return [queue] if queue else known


async def _letters(broker: Broker, queue: str, limit: int) -> tuple[list[DeadLetter], list[str]]:
    """The oldest dead letters of each queue, at most `limit` of one; and the queues that have more."""
    found: list[DeadLetter] = []
    cut_off = []
    for name in _queues(queue):
        letters = await broker.dead_letters(name, limit=limit + 1)
        found += letters[:limit]
        if len(letters) > limit:
            cut_off.append(name)
    return found, cut_off


async def _with_id(broker: Broker, queue: str, identifier: str) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    for name in _queues(queue):
        read = await broker.dead_letters(name, limit=MAX_SEARCHED)
        found += [letter for letter in read if letter.id == identifier]
    return found


async def _replay_all(broker: Broker, queue: str) -> int:
    """Replay those that are there now, each once: one that fails again meanwhile stays where it is."""
    _queues(queue)
    began = datetime.now(UTC)
    replayed: set[str] = set()
    count = 0
    letters = await broker.dead_letters(queue, limit=MAX_SEARCHED)
    while letters:
        count += sum([await broker.replay_dead_letter(queue, letter.id) for letter in letters])
        replayed |= {letter.id for letter in letters}
        # By their ids, too: the consumers' clocks may be behind ours.
        letters = [
            letter
            for letter in await broker.dead_letters(queue, limit=MAX_SEARCHED)
            if letter.died_at <= began and letter.id not in replayed
        ]
    return count


async def _drop(broker: Broker, queue: str, identifier: str) -> bool:
    return bool(await broker.drop_dead_letters(queue, {identifier}))


async def _settle(queue: str, identifier: str, settle: Callable[[str, str], Awaitable[bool]]) -> list[str]:
    """Settle it in every queue in which it lies (two consumers may have failed on one event); returns these queues."""
    return [name for name in _queues(queue) if await settle(name, identifier)]


def _as_json(letter: DeadLetter) -> dict[str, Any]:
    event = letter.event
    return {
        "id": letter.id,
        "queue": letter.queue,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "died_at": letter.died_at.isoformat(),
        "event": {
            "id": event.id,
            "type": event.type,
            "source": event.source,
            "subject": event.subject,
            "time": event.time.isoformat(),
            **event.extensions,
            "data": event.shown(),  # that it is no JSON may be why it died
        },
    }
