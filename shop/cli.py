"""The `shop` command: a table of its commands, each imported when it is called.

Exit codes, where a command's help says nothing else: 0 done, 1 done but the answer is bad news, 2 refused.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import typer
from typer.core import TyperGroup

from chassis.errors import REFUSED, wrong_setting
from shop.errors import Refused
from shop.supervisor import state

# Panel of the help page -> command -> where it is: a function, or a Typer application with commands of its own.
COMMANDS = {
    "Start and stop": {
        "up": "shop.commands.processes.cli:up",
        "run": "shop.commands.processes.cli:run",
        "status": "shop.commands.processes.cli:status",
        "healthy": "shop.commands.processes.cli:healthy",
        "down": "shop.commands.processes.cli:down",
        "reset": "shop.commands.processes.cli:reset",
        "open": "shop.commands.processes.cli:open_page",
        "settings": "shop.commands.processes.cli:settings",
        "doctor": "shop.commands.doctor.command:doctor",
        "migrate": "shop.commands.processes.cli:migrate",
        "certs": "shop.commands.processes.cli:certs",
    },
    "Orders": {
        "tour": "shop.commands.orders.cli:tour",
        "order": "shop.commands.orders.cli:order",
        "trace": "shop.commands.orders.cli:trace",
        "logs": "shop.logs.command:logs",
        "audit": "shop.commands.orders.cli:audit",
        "token": "shop.commands.orders.cli:token",  # nosec B105 # a command's module
    },
    "Messages": {
        "events": "shop.commands.messages.events:app",
        "queues": "shop.commands.messages.cli:queues",
        "reports": "shop.commands.messages.reports:app",
        "call": "shop.rpc.command:call",
        "dead-letters": "shop.commands.messages.dead_letters:app",
    },
    "Agents": {
        "mcp": "shop.commands.agents.mcp:mcp",
    },
    "Partners": {
        "webhooks": "shop.commands.partners.webhooks:app",
        "partner": "shop.commands.partners.partner:app",
    },
    "Learn": {
        "lesson": "shop.lessons.commands:app",
        "compare": "bench.compare.cli:compare",
    },
    "Faults": {
        "fault": "shop.fault.command:app",
    },
}


# These start a shop of their own, with its own settings.
_WITH_A_SHOP_OF_THEIR_OWN = {"up", "lesson", "compare"}

_NOT_WRITABLE = (
    errno.EACCES,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
)
_BROKERS = ("embedded", "amqp", "amqps")


class ImportedCommands(TyperGroup):
    """Imports a command when it is called: `shop status` does not wait for what `shop migrate` needs."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._panels = {name: panel for panel, commands in COMMANDS.items() for name in commands}
        # Only the names count, for "did you mean".
        names: Any = dict.fromkeys(self._panels)
        self.commands = names

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - Typer's shape
        """Names, in the order of the table."""
        return list(self._panels)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - Typer's shape
        """The command of this name, imported now; None where there is none."""
        panel = self._panels.get(cmd_name)
        if panel is None:
            return None
        module, _, attribute = COMMANDS[panel][cmd_name].partition(":")
        context: dict[str, Any] = {}
        try:
            found = getattr(import_module(module), attribute)
        except ModuleNotFoundError as missing:
            if not _is_ours(module, missing):
                raise
            found, context = _absent(cmd_name), {"allow_extra_args": True, "ignore_unknown_options": True}
        if not isinstance(found, typer.Typer):
            function, found = found, typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            found.command(context_settings=context)(function)
        command: Any = _as_written(typer.main.get_command(found))
        command.name, command.rich_help_panel = cmd_name, panel
        return command


def _is_ours(module: str, missing: ModuleNotFoundError) -> bool:
    """Whether the command's own package is missing, as `bench` is in a container's image, and not one that it needs."""
    return (missing.name or "").partition(".")[0] == module.partition(".")[0]


def _absent(name: str) -> Callable[[], None]:
    """The command in place of one that is not installed."""

    def command() -> None:
        """Not installed here: it needs the repository, and `make setup-dev` there."""
        raise Refused(f'"shop {name}" is not installed here: it needs the repository, and "make setup-dev" there')

    return command


def _as_written(command: Any) -> Any:
    """The command, whose help is shown as it is written: a paragraph is wrapped as one, and [brackets] stay.

    Rich would keep each line break of a docstring, and take what looks like its markup for markup.
    """
    command.help = _escaped("\n\n".join(" ".join(each.split()) for each in (command.help or "").split("\n\n")))
    for parameter in command.params:
        parameter.help = _escaped(getattr(parameter, "help", None) or "")
    for inner in getattr(command, "commands", {}).values():
        _as_written(inner)
    return command


def _escaped(text: str) -> str:
    return re.sub(r"\[(?=[a-z#/@])", r"\\[", text)


app = typer.Typer(
    cls=ImportedCommands,
    help="Start and inspect the Polyglot Shop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.callback()(lambda: None)


def main() -> None:
    """Run the command line; a refusal becomes one plain message and exit code 2."""
    # A command prints its own messages; `up` and `run` configure logging, which replaces this.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        _read_files()
        _check_urls()
        _as_started()
        app()
    except Refused as refusal:
        sys.stderr.write(f"shop: {refusal}\n{_elsewhere()}")
        sys.exit(REFUSED)
    except OSError as error:
        if error.errno is not None and error.errno not in _NOT_WRITABLE:
            raise
        # An error without a number is one of ours, such as a missing certificate, and its text describes what to do.
        why = error if error.errno is None else f"cannot write {error.filename or 'a file'}: {error.strerror}"
        sys.stderr.write(f"shop: {why}\n")
        sys.exit(REFUSED)
    except ValueError as error:
        wrong = wrong_setting(error)
        if not wrong:
            raise
        sys.stderr.write(f"shop: {wrong}\n")
        sys.exit(REFUSED)


def _read_files() -> None:
    """Put what the files of `SHOP_…_FILE` hold into this process's own environment."""
    if not any(name.startswith("SHOP_") and name.endswith("_FILE") for name in os.environ):
        return
    # Imported here: most commands are given no files, and this takes longer than all the rest of their start.
    from chassis.settings import with_files

    try:
        given = with_files(os.environ)
    except ValueError as error:
        raise Refused(str(error)) from error
    for name in os.environ.keys() - given.keys():
        del os.environ[name]
    os.environ.update(given)


def _check_urls() -> None:
    """Raises `Refused` for a setting that is no URL. What it holds stays out of the message: it may be a password."""
    for name, value in os.environ.items():
        # Databases and Kafka may have several hosts, which is no URL of the general form.
        if not (name.startswith("SHOP_") and name.endswith("_URL") and value.startswith(("http", "amqp"))):
            continue
        try:
            whole = bool(urlsplit(value).hostname) and urlsplit(value).port != 0
        except ValueError:
            whole = False
        if not whole:
            raise Refused(f"{name} must be a URL with a host, such as {value.partition(':')[0]}://localhost:8000")
    scheme = os.environ.get("SHOP_BROKER_URL", "embedded:").partition(":")[0]
    if scheme and scheme not in _BROKERS:
        raise Refused("SHOP_BROKER_URL must begin with embedded: or amqp:")


def _elsewhere() -> str:
    """A line for a user who means a lesson's shop and is not in its folder; empty where no such shop runs."""
    if _WITH_A_SHOP_OF_THEIR_OWN.intersection(sys.argv[1:2]):
        return ""
    from shop.lessons.running import elsewhere

    hint = elsewhere(os.environ)
    return f"({hint})\n" if hint else ""


def _as_started() -> None:
    """Take over the settings of the running shop in this data directory, where this environment has none.

    Of another user's shop nothing is taken over: a command that needs its state reads that itself, and refuses.
    """
    if _WITH_A_SHOP_OF_THEIR_OWN.intersection(sys.argv[1:2]):
        return
    with suppress(Refused):
        running = state.settings_of_running(Path(os.environ.get("SHOP_DATA_DIR") or ".shop"))
        os.environ.update({name: value for name, value in running.items() if name not in os.environ})
