"""Parameters of the commands on processes; their code is imported when they are called."""

from __future__ import annotations

import json as jsonlib
import os
from dataclasses import asdict
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated

import typer

_Only = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME[,NAME…]", help="Start only these processes. Comma-separated or repeated."),
]
_Without = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME[,NAME…]", help="Start all processes except these. Comma-separated or repeated."),
]


def up(
    only: _Only = None,
    without: _Without = None,
    *,
    tls: Annotated[bool, typer.Option("--tls", help="HTTPS, WSS, and mutual TLS between services.")] = False,
    lab: Annotated[bool, typer.Option("--lab", help="Lead every connection through links that can be broken.")] = False,
) -> None:
    """Start every process and keep it running until Ctrl-C or SIGTERM.

    State lives in SHOP_DATA_DIR (.shop); SHOP_<PROCESS>_PORT moves a process; set
    SHOP_START_METHOD=spawn to start each process in a fresh interpreter instead of forking a preloaded one.

    Exit code 0: stopped cleanly. 1: stopped, but a process had to be killed. 2: not started (port or data directory in
    use, or invalid option or setting).
    """
    from shop.commands.processes.up import up as start

    raise typer.Exit(start(only=_split(only), without=_split(without), tls=tls, lab=lab))


def run(
    process: Annotated[str, typer.Argument(help="Its name, as `shop status` lists it.")],
    *,
    command: Annotated[
        str, typer.Option("--while", metavar="COMMAND", help="Run it once the process is ready, then stop the process.")
    ] = "",
) -> None:
    """Run one process here, in the foreground, until Ctrl-C or SIGTERM.

    A second copy needs a port of its own: SHOP_NOTIFIER_PORT=9001 shop run notifier.

    Exit code 0: stopped on request. 1: the process failed. 2: no such process, or an invalid setting.
    With --while: the command's own, and 2 where the process does not become ready.
    """
    if command:
        from shop.commands.processes.run_while import run_while

        raise typer.Exit(run_while(process, command, os.environ))
    from shop.commands.processes.up import run as run_one

    run_one(process)


def status(*, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show every process with its state, pid, ports and restarts.

    Where no shop was started in SHOP_DATA_DIR, the processes that settings name (SHOP_GATEWAY_URL, ...) are checked, as
    in docker compose: whether their ports accept connections.

    Exit code 0: all are ready. 1: one is not, or none was started.
    """
    from shop.commands.processes.status import status as ask

    report, healthy = ask(os.environ, as_json=json)
    typer.echo(report)
    raise typer.Exit(0 if healthy else 1)


def healthy(process: Annotated[str, typer.Argument(help="Its name, as `shop status` lists it.")]) -> None:
    """Check whether a process on this machine is ready: by gRPC's health protocol, or its `/readyz`.

    Exit code 0: it can. 1: it cannot, or does not answer. 2: no such process, or its port's setting is none.
    """
    from shop.commands.processes.healthy import healthy as ask

    fine = ask(process, os.environ)
    typer.echo(f"{process} is {'healthy' if fine else 'not healthy, or does not answer on this machine'}")
    raise typer.Exit(0 if fine else 1)


def migrate(
    services: Annotated[list[str] | None, typer.Argument(help="Services to migrate [default: all].")] = None,
) -> None:
    """Bring the databases of services up to date (SHOP_DATABASE_URL), and end. Safe to repeat.

    Where processes do not do that themselves (SHOP_MIGRATE=false), this comes before them.
    Exit code 0: all are up to date. 1: one could not be brought there. 2: no such service.
    """
    from shop.commands.processes.migrate import migrate_command

    report, fine = migrate_command(services or [], os.environ)
    typer.echo(report)
    raise typer.Exit(0 if fine else 1)


def certs(folder: Path | None = None) -> None:
    """Make a development certificate authority and a certificate for each process, unless they are there.

    They go to FOLDER, by default <SHOP_DATA_DIR>/certs, where `shop up --tls` looks for them.
    Exit code 0: they are there.
    """
    from shop.commands.processes.certs import AUTHORITY, ensure
    from shop.process_table import TABLE
    from shop.urls import data_dir

    folder = folder or data_dir(os.environ) / "certs"
    made = ensure(folder, TABLE)
    typer.echo(f"{'made' if made else 'there already'}: {folder}; trust {folder / AUTHORITY}")


def down() -> None:
    """End the shop that `shop up` has started in SHOP_DATA_DIR, and wait until it has ended.

    Exit code 0: no shop is running there now. 2: it does not end.
    """
    from shop.commands.processes.ending import down as end

    typer.echo(end(os.environ))


def reset(*, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not prompt.")] = False) -> None:
    """End the shop of SHOP_DATA_DIR and remove its state: orders, accounts, mails, secrets. It prompts first.

    A PostgreSQL or RabbitMQ that settings name keeps what it has.
    Exit code 0: there is no state now. 1: not confirmed. 2: the shop does not end.
    """
    from shop.commands.processes import ending
    from shop.urls import data_dir

    folder = data_dir(os.environ)
    if ending.state_in(folder) and not yes and not typer.confirm(f"Remove the shop's state in {folder}?"):
        raise typer.Exit(1)
    typer.echo(ending.down(os.environ))
    typer.echo(ending.reset(os.environ))


def open_page(
    name: Annotated[
        str, typer.Argument(help="console, docs, graphiql, mails, traces or wsdl; list: all of them.")
    ] = "console",
    *,
    only_print: Annotated[bool, typer.Option("--print", help="Print the URL and open nothing.")] = False,
) -> None:
    """Open a page of the running shop in the browser, and print its URL; without a display, only print it.

    Exit code 0: it answers. 2: no such page, or no shop is running.
    """
    from shop.commands.processes import pages

    if name == "list":
        for each, page in pages.PAGES.items():
            typer.echo(f"{each:<10} {page.shows}")
        return
    url = pages.address(name, os.environ)
    typer.echo(url)
    if not only_print and pages.has_browser(os.environ):
        typer.launch(url)


def settings(
    name: Annotated[str, typer.Argument(help="Part of a setting's name; all by default.")] = "",
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/settings.md.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List every SHOP_… setting with its default, its unit and meaning, and the processes that read it.

    Exit code 0: listed. 1: there is none with this in its name.
    """
    from shop.commands.processes import settings_list

    found = [each for each in settings_list.settings().values() if name.upper() in each.name]
    if json:
        typer.echo(jsonlib.dumps({"items": [asdict(each) for each in found]}, indent=2))
    elif markdown:
        typer.echo(settings_list.as_markdown(found), nl=False)
    else:
        typer.echo(settings_list.as_text(found, min(get_terminal_size().columns, 100)))
    if not found:
        raise typer.Exit(1)


def _split(names: list[str] | None) -> list[str]:
    return [name for given in names or () for name in given.split(",") if name]
