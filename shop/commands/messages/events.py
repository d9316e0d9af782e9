"""`shop events`: what happens, live, and what has happened."""

from __future__ import annotations

import asyncio
import json as jsonlib
import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shop.commands.showing import fitted, moment
from shop.errors import Refused
from shop.sign_in import CUSTOMER

if TYPE_CHECKING:
    from chassis.broker.event_log import Position

app = typer.Typer(help="Watch the shop's events, or read them again.", no_args_is_help=True, add_completion=False)

_MAX_COUNT = 1_000_000_000
_Topics = Annotated[
    list[str] | None, typer.Option("--topic", metavar="PATTERN", help="Such as 'order.*'; may be given several times.")
]
_From = Annotated[
    str, typer.Option("--after", metavar="POSITION", help="Begin after this position; 0: with the oldest.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
_Count = Annotated[
    int, typer.Option(min=0, max=_MAX_COUNT, metavar="N", help="Stop after so many; 0: go on until Ctrl-C.")
]
_EVERYTHING = "#"
# Seconds before each attempt to connect again; the last is repeated.
_PAUSES = (0.1, 0.5, 1.0, 2.0, 5.0)


@app.command()
def tail(
    *,
    topic: _Topics = None,
    after: Annotated[str, typer.Option(metavar="POSITION", help="Begin after this position.")] = "",
    email: Annotated[str, typer.Option(help="Account to connect as. Admins see all events.")] = "admin@shop.test",
    count: _Count = 0,
    json: _Json = False,
) -> None:
    """Print events as the notifier sends them over its WebSocket, until Ctrl-C; a lost connection is resumed.

    Nothing is lost or printed twice when the notifier is restarted or the token expires.
    The password comes from SHOP_PASSWORD, a demo account, or a prompt.
    Exit code 0: stopped, or `--count` reached. 1: the position has expired. 2: the gateway or the notifier does
    not answer, or refuses.
    """
    from shop.notifier_client import ForgottenError

    if after and not after.isdecimal():
        raise Refused(f'invalid position "{after}". Use the position of an event; 0 is before the oldest')
    _head(as_json=json)
    try:
        for frame in islice(_following(topic or [_EVERYTHING], after, email), count or None):
            _print(frame, as_json=json)
    except ForgottenError as forgotten:
        typer.echo("position has expired: the event log does not reach back that far", err=True)
        raise typer.Exit(1) from forgotten


@app.command()
def say(
    order: Annotated[str, typer.Argument(metavar="ORDER", help="The order of the room.")],
    text: Annotated[str, typer.Argument(help="The message.")],
    *,
    email: Annotated[str, typer.Option(help="Account that posts it: the order's customer, or an admin.")] = CUSTOMER,
    json: _Json = False,
) -> None:
    """Send a message to an order's room, and print the event that all clients in the room get.

    The message and the event go over one WebSocket. Others see it with `shop events tail --topic 'chat.*'`.
    The password comes from SHOP_PASSWORD, a demo account, or a prompt.
    Exit code 0: sent. 2: the gateway or the notifier does not answer, or refuses.
    """
    from shop import sign_in
    from shop.notifier_client import LostError, live
    from shop.urls import trust, url_of

    try:
        with live(url_of("notifier", os.environ), sign_in.token(email), trust=trust(os.environ)) as connection:
            connection.subscribe(["chat.*"])
            for frame in connection.chat(order, text):
                _print(frame, as_json=json)
    except LostError as lost:
        raise Refused(f"the connection was lost: {lost}") from lost


def _following(topics: list[str], after: str, email: str) -> Iterator[dict[str, Any]]:
    """Events without end, across whatever happens to the notifier once it has answered.

    Raises `ForgottenError`, and `Refused` when it does not answer at first, or refuses.
    """
    from shop import sign_in
    from shop.gateway_client import GatewayError
    from shop.notifier_client import LostError, UnreachableError, live
    from shop.urls import trust, url_of

    token, answered, failures = "", False, 0
    while True:
        try:
            token = token or sign_in.token(email)
            with live(url_of("notifier", os.environ), token, trust=trust(os.environ)) as connection:
                after = connection.subscribe(topics, after)
                if not answered:
                    typer.echo("listening; Ctrl-C stops", err=True)
                answered, failures = True, 0
                while (frame := connection.frame()) is not None:
                    after = str(frame["id"])
                    yield frame
        except LostError as lost:
            if lost.expired:
                if not answered:
                    raise Refused(f"the notifier refused the token ({lost})") from lost
                token = ""  # nosec B105 # not signed in yet
            reason = str(lost)
        except (UnreachableError, GatewayError) as away:
            # What the gateway calls our mistake stays one.
            final = isinstance(away, GatewayError) and 400 <= away.status < 429
            if final or not answered:
                raise
            reason = str(away)
        typer.echo(f"connection lost ({reason}), connecting again", err=True)
        time.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
        failures += 1


@app.command()
def replay(*, after: _From = "0", topic: _Topics = None, json: _Json = False) -> None:
    """Print the events of the broker's log after a position, up to now. It changes nothing.

    Exit code 0: printed. 1: the log no longer holds the next event after the position. 2: there is no such position
    yet, or the broker cannot be reached.
    """
    from chassis.broker.event_log import InvalidPosition, Position, PositionExpired

    try:
        begin = Position.parse(after)
    except InvalidPosition as invalid:
        raise Refused(f"{after!r} is not a position: take it from an event's id") from invalid
    try:
        asyncio.run(_replay(begin, topic or [_EVERYTHING], as_json=json))
    except PositionExpired as expired:
        typer.echo(str(expired), err=True)
        raise typer.Exit(1) from expired


async def _replay(after: Position, topics: list[str], *, as_json: bool) -> None:
    from chassis.broker.topics import matches
    from shop.commands.messages.dead_letters import opened

    _head(as_json=as_json)
    async with opened() as broker:
        last = await broker.log.last_position()
        if not last.includes(after):
            raise Refused(f"the log ends at position {last}")
        async with broker.log.tail(after, upto=last) as entries:
            async for entry in entries:
                event = entry.event
                if any(matches(pattern, event.type) for pattern in topics):
                    frame = {
                        "id": str(entry.position),
                        "type": event.type,
                        "time": event.time.isoformat(),
                        "subject": event.subject,
                        "data": event.shown(),
                    }
                    _print(frame, as_json=as_json)


def _head(*, as_json: bool) -> None:
    """The columns' names, for a person; a pipe gets events only."""
    if not as_json and sys.stdout.isatty():
        typer.echo(f"{'position':>8}  {'time':<20}  {'event':<16}  subject and data")


def _print(frame: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(jsonlib.dumps(frame))
    else:
        data = jsonlib.dumps(frame.get("data"))
        at, about = moment(str(frame.get("time", ""))), frame.get("subject")
        typer.echo(fitted(f"{frame['id']:>8}  {at:<20}  {frame.get('type'):<16}  {about}  {data}"))
