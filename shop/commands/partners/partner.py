"""`shop partner`: be one of the shop's partners, well or badly behaved."""

from __future__ import annotations

import asyncio
import json as jsonlib
import os
from collections import Counter
from enum import StrEnum
from typing import Annotated

import typer

from shop.errors import Refused

app = typer.Typer(help="Send partners' webhooks, with faults on demand.", no_args_is_help=True, add_completion=False)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_TIMEOUT = 10.0
_SUCCESS = range(200, 300)
_UNAUTHORIZED = 401


class Provider(StrEnum):
    STRIPE = "stripe"
    GITHUB = "github"
    SHOPIFY = "shopify"
    STANDARD = "standard"


class Fault(StrEnum):
    """The faults of `partners.senders`, which is not imported for every command's sake."""

    DUPLICATE = "duplicate"
    LATE = "late"
    FORGED = "forged"
    OUT_OF_ORDER = "out-of-order"
    SLOW = "slow"
    FLOOD = "flood"


# What a shop must not take; anything else goes wrong on the way to it.
_MUST_BE_REFUSED = (Fault.LATE, Fault.FORGED)


@app.command()
def send(
    provider: Provider,
    *,
    event: Annotated[
        str, typer.Option(metavar="TYPE", help="Event type to send [default: one that the shop handles].")
    ] = "",
    fault: Annotated[Fault | None, typer.Option(help="The fault to inject.")] = None,
    count: Annotated[
        int,
        typer.Option(
            min=1, max=100_000, show_default=False, help="Number of events [default: 1; 1000 with --fault flood]."
        ),
    ] = 1,
    order: Annotated[str, typer.Option(metavar="ID", help="The order that it is about.")] = "123",
    product: Annotated[str, typer.Option(metavar="ID", help="The product of a channel's order.")] = "42",
    json: _Json = False,
) -> None:
    """Send signed webhooks to the shop, as the provider does.

    duplicate: each twice. late: signed ten minutes ago. forged: signed with another secret. out-of-order: the later
    event first. slow: the body takes three seconds. flood: all at once.
    Exit code 0: each was answered as it should be: 2xx, and 401 for late and forged ones. 1: one was not. 2: the secret
    is not known, the provider cannot have that fault, or the receiver cannot be reached.
    """
    from partners import senders
    from partners.sending import post_all
    from shop.urls import url_of

    wrong = senders.Fault(fault) if fault else None
    many = 1_000 if wrong is senders.Fault.FLOOD and count == 1 else count
    # A demo order's own payment: a repeat of its webhook changes nothing, as with a real provider.
    content = {"event": event, "order_id": order, "product_id": product, "payment_id": f"pi_demo_{order}"}
    try:
        webhooks = senders.examples(provider, secret=_secret(provider), count=many, fault=wrong, **content)
    except ValueError as error:
        raise Refused(str(error)) from error
    url = url_of("webhooks", os.environ)
    answers = asyncio.run(post_all(url, webhooks, fault=wrong))
    if all(answer.status == 0 for answer in answers):
        raise Refused(f"cannot reach the webhook receiver at {url}. Is the shop running? ({answers[0].text})")
    refused = fault in _MUST_BE_REFUSED
    expected = range(_UNAUTHORIZED, _UNAUTHORIZED + 1) if refused else _SUCCESS
    tally = Counter((answer.status, answer.text) for answer in answers)
    if json:
        items = [{"status": status, "text": text, "count": number} for (status, text), number in tally.items()]
        typer.echo(jsonlib.dumps({"sent": len(answers), "answers": items}, indent=2))
    else:
        for (status, text), number in tally.items():
            as_it_should = f"{fault}: refused as it should be, " if refused and status in expected else ""
            typer.echo(f"{number} x {as_it_should}{status or 'no answer'} {_words(text)}")
    raise typer.Exit(0 if all(answer.status in expected for answer in answers) else 1)


def _words(text: str) -> str:
    """An answer's body for people: of problem+json its code and detail."""
    try:
        problem = jsonlib.loads(text)
        return f"{problem['code']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        return text


@app.command()
def pay(
    order: Annotated[str, typer.Argument(metavar="ORDER", help="The order's id.")],
    *,
    fail: Annotated[bool, typer.Option("--fail", help="Make the payment fail instead.")] = False,
) -> None:
    """Have the payment provider collect an order's payment now, or fail to, and send the shop its webhook.

    Exit code 0: done. 1: the provider has no payment for the order, or refuses. 2: the provider does not answer.
    """
    import httpx

    from shop.gateway_client import object_of
    from shop.urls import url_of

    url = f"{url_of('payment_provider', os.environ)}/v1/payment_intents"
    try:
        with httpx.Client(timeout=_TIMEOUT, trust_env=False) as client:
            payments = object_of(client.get(url, params={"order_id": order}).raise_for_status(), "data")["data"]
            if not payments:
                typer.echo(f"the payment provider has no payment for order {order}", err=True)
                raise typer.Exit(1)
            newest = payments[-1]["id"]
            answer = client.post(f"{url}/{newest}/{'fail' if fail else 'pay'}")
    except httpx.HTTPError as error:
        raise Refused(f"the payment provider does not answer: {error}") from error
    if not answer.is_success:
        refusal = object_of(answer, "error")["error"]
        typer.echo(refusal.get("message") if isinstance(refusal, dict) else refusal, err=True)
        raise typer.Exit(1)
    typer.echo(f"{newest}: {object_of(answer, 'status')['status']}")


def _secret(provider: str) -> str:
    from shop.process_table import TABLE, Scheme
    from shop.supervisor.environment import running, signing_secret

    around = running(TABLE, os.environ)
    return signing_secret(Scheme[provider.upper()], around.secrets, around.data_dir)
