"""`shop webhooks`: received webhooks, and their replay."""

from __future__ import annotations

import asyncio
import json as jsonlib
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from shop.commands.showing import moment
from shop.errors import Refused

if TYPE_CHECKING:
    from chassis.grpc.client import Client
    from protos.shop.webhooks.v1 import webhooks_pb2 as pb
    from protos.shop.webhooks.v1.webhooks_pb2_grpc import WebhookAdminServiceAsyncStub

T = TypeVar("T")

app = typer.Typer(help="Show or replay the webhooks that partners have sent.", no_args_is_help=True)

_Provider = Annotated[
    str, typer.Option(metavar="NAME", help="Only of this provider: stripe, github, shopify, standard.")
]
_Since = Annotated[
    str,
    typer.Option(
        metavar="TIME", help="Only those received since: a timestamp (RFC 3339) or an age (90s, 15m, 2h, 7d)."
    ),
]
_Until = Annotated[str, typer.Option(metavar="TIME", help="Only those received before this time.")]
_Failed = Annotated[bool, typer.Option("--failed", help="Only those whose processing has failed.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Id = Annotated[str, typer.Argument(metavar="ID", help="A webhook's id, as `list` prints it.")]
_Email = Annotated[
    str, typer.Option(help="The admin to act as; the password is SHOP_PASSWORD's, a demo account's, or prompted for.")
]

_ADMIN = "admin@shop.test"
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_PAGE = 500
_HEADINGS = f"{'id':<32}  {'received':<20}  {'state':<9}  provider and event"
_TIMEOUT = 10.0


@app.command("list")
def list_(
    *,
    provider: _Provider = "",
    since: _Since = "",
    until: _Until = "",
    failed: _Failed = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
    json: _Json = False,
    email: _Email = _ADMIN,
) -> None:
    """List webhooks, newest first.

    Exit code 0: listed (maybe none). 2: not signed in as an admin, or webhook_worker does not answer.
    """
    chosen = _selection(provider, since, until, failed=failed)
    found = _call(email, lambda stub, client: _pages(stub, client, chosen, limit))
    if json:
        typer.echo(jsonlib.dumps({"items": [_as_json(webhook) for webhook in found]}, indent=2))
        return
    typer.echo(_HEADINGS if found else "no webhooks")
    for webhook in found:
        _print(webhook)


@app.command()
def show(identifier: _Id, *, json: _Json = False, email: _Email = _ADMIN) -> None:
    """Show a webhook as received: headers and body, its processing, and who has replayed it.

    Exit code 0: shown. 1: there is none with this id. 2: not signed in as an admin, or webhook_worker does not answer.
    """
    from protos.shop.webhooks.v1.webhooks_pb2 import GetWebhookRequest

    found = _call(email, lambda stub, client: client.call(stub.GetWebhook, GetWebhookRequest(id=identifier)))
    body = found.body.decode(errors="replace")
    replays = [{"at": _time(replay.at), "by": replay.by, "reason": replay.reason} for replay in found.replays]
    if json:
        whole = {**_as_json(found.webhook), "headers": dict(found.headers), "body": body, "replays_made": replays}
        typer.echo(jsonlib.dumps(whole, indent=2))
        return
    _print(found.webhook)
    for name, value in sorted(found.headers.items()):
        typer.echo(f"    {name}: {value}")
    typer.echo(f"\n{body}\n")
    for replay in replays:
        typer.echo(f"replayed {replay['at']} by user {replay['by']}: {replay['reason']}")


@app.command()
def replay(
    identifiers: Annotated[list[str] | None, typer.Argument(metavar="[ID]…", help="Webhooks' ids.")] = None,
    *,
    provider: _Provider = "",
    since: _Since = "",
    until: _Until = "",
    failed: _Failed = False,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="The reason; it is kept with your name and the time.")
    ] = "by hand",
    json: _Json = False,
    email: _Email = _ADMIN,
) -> None:
    """Replay webhooks, by id or by filter.

    Processed webhooks are processed again, too, except with --failed; the services recognize a repeat.
    Exit code 0: queued. 1: there is none with this id, or none was selected. 2: neither ids nor a
    filter, not signed in as an admin, or webhook_worker does not answer.
    """
    from protos.shop.webhooks.v1.webhooks_pb2 import ReplayWebhooksRequest

    options = any((provider, since, until, failed))
    if options == bool(identifiers):
        raise Refused("select the webhooks to replay: ids, or --provider, --since, --until, --failed")
    request = ReplayWebhooksRequest(ids=identifiers or [], reason=reason)
    if not identifiers:
        request.selection.CopyFrom(_selection(provider, since, until, failed=failed))
    answer = _call(email, lambda stub, client: client.call(stub.ReplayWebhooks, request))
    if json:
        items = [_as_json(webhook) for webhook in answer.webhooks]
        typer.echo(jsonlib.dumps({"items": items, "more": answer.more}, indent=2))
    else:
        for webhook in answer.webhooks:
            typer.echo(f"{webhook.id} ({webhook.provider} {webhook.event_type}) is queued for reprocessing")
        typer.echo(f"{len(answer.webhooks)} replayed" + ("; there are more: run it again" if answer.more else ""))
    if not answer.webhooks:
        raise typer.Exit(1)


def _call(email: str, call: Callable[[WebhookAdminServiceAsyncStub, Client], Awaitable[T]]) -> T:
    """Call webhook_worker, with an admin's token. Raises `Refused`; nothing with that id ends with exit code 1."""
    from chassis.errors import Kind, ShopError
    from shop import sign_in

    token = sign_in.token(email)
    try:
        return asyncio.run(_connected(token, call))
    except ShopError as error:
        if error.kind is Kind.NOT_FOUND:
            typer.echo(error.message, err=True)
            raise typer.Exit(1) from error
        why = "".join(f"\n  {field}: {reason}" for field, reason in error.fields.items())
        raise Refused(f"webhook_worker refused: {error}{why}") from error


async def _connected(token: str, call: Callable[[WebhookAdminServiceAsyncStub, Client], Awaitable[T]]) -> T:
    from chassis.grpc.client import Client, connect
    from chassis.observability.tracing import Telemetry
    from chassis.settings import ProcessSettings
    from protos.shop.webhooks.v1.webhooks_pb2_grpc import WebhookAdminServiceStub
    from shop.commands.processes.certs import COMMAND_LINE
    from shop.urls import url_of

    async def as_admin() -> str:
        return token

    address = url_of("webhook_worker", os.environ).rpartition("//")[2]
    async with connect(address, tls=ProcessSettings().tls(COMMAND_LINE)) as channel:
        client = Client("webhook_worker", Telemetry("shop"), token=as_admin, timeout=_TIMEOUT)
        return await call(WebhookAdminServiceStub(channel), client)


async def _pages(
    stub: WebhookAdminServiceAsyncStub, client: Client, selection: pb.Selection, limit: int
) -> list[pb.Webhook]:
    from protos.shop.webhooks.v1.webhooks_pb2 import ListWebhooksRequest

    found: list[pb.Webhook] = []
    cursor = ""
    while len(found) < limit:
        size = min(_PAGE, limit - len(found))
        request = ListWebhooksRequest(selection=selection, page_size=size, cursor=cursor)
        page = await client.call(stub.ListWebhooks, request)
        found += page.webhooks
        cursor = page.next_cursor
        if not cursor:
            break
    return found


def _selection(provider: str, since: str, until: str, *, failed: bool) -> pb.Selection:
    from chassis.grpc.timestamps import timestamp
    from protos.shop.webhooks.v1.webhooks_pb2 import Selection

    return Selection(
        provider=provider,
        since=timestamp(_moment(since)) if since else None,
        until=timestamp(_moment(until)) if until else None,
        failed=failed,
    )


def _moment(text: str) -> datetime:
    """A moment, or so long ago. Raises `Refused`."""
    number, unit = text[:-1], text[-1:]
    try:
        if unit in _UNITS and number.isascii() and number.isdigit():
            return datetime.now(UTC) - timedelta(seconds=int(number[:12]) * _UNITS[unit])
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise Refused(
            f'invalid time "{text}". Use a timestamp (2026-03-01T10:00:00Z) or an age (90s, 15m, 2h, 7d)'
        ) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _time(at: Any) -> str:
    return moment(at.ToDatetime(UTC))


def _print(webhook: pb.Webhook) -> None:
    state = webhook.outcome or webhook.status
    typer.echo(f"{webhook.id:<32}  {_time(webhook.received_at)}  {state:<9}  {webhook.provider} {webhook.event_type}")
    typer.echo(f"    provider's id: {webhook.provider_event_id}")
    if webhook.error:
        typer.echo(f"    attempts: {webhook.attempts}; {webhook.error}")


def _as_json(webhook: pb.Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "provider": webhook.provider,
        "provider_event_id": webhook.provider_event_id,
        "event_type": webhook.event_type,
        "received_at": _time(webhook.received_at),
        "status": webhook.status,
        "outcome": webhook.outcome or None,
        "attempts": webhook.attempts,
        "error": webhook.error or None,
        "replays": webhook.replays,
    }
