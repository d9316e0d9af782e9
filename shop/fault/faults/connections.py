"""Faults of connections: one link, all links to the broker, all links to databases; or the lock of an embedded file."""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from queue import SimpleQueue

from shop.errors import Refused
from shop.fault.faults.full import full
from shop.fault.faults.ground import Fault, Ground
from shop.fault.faults.guard import Guard
from shop.fault.links.client import Links, NotListening
from shop.fault.links.toxics import Toxic, parse

_MAX_SECONDS = 3_600.0
_SERVERS = {
    "broker": (
        "SHOP_BROKER_URL",
        "amqp",
        {"down": ["refuse"], "slow": ["delay=200ms"], "silent": ["black-hole"], "alarm": ["alarm"]},
    ),
    "database": (
        "SHOP_DATABASE_URL",
        "postgres",
        {"down": ["refuse"], "slow": ["delay=50ms"], "silent": ["black-hole"]},
    ),
}
# A slow file: held for most of each period (seconds).
_PERIOD, _HELD = 0.4, 0.3
_SEEN_WITHIN = 3.0
# Seconds for which a file's lock is tried.
_LOCK_SECONDS = 10.0
_POLL = 0.02


class LinkFault:
    """Toxics on links, at once."""

    momentary = False

    def __init__(self, ground: Ground, words: str, names: Sequence[str], toxics: Iterable[Toxic]) -> None:
        self.words = words
        self._ground, self._names, self._toxics = ground, names, tuple(toxics)
        self._id = ""
        self._met = 0
        self._guard: Guard | None = None

    def begin(self) -> str:
        """Set them. A guard takes them away should this program be killed."""
        known = self._ground.links.all()
        chosen = [name for wanted in self._names for name in known if _matches(wanted, name)]
        if not chosen:
            raise Refused(f"no link {', '.join(self._names)}; known links: {', '.join(known)}")
        # Chosen here: one that the proxy gave would reach the guard too late, should this program be killed in between.
        self._id = uuid.uuid4().hex[:8]
        self._guard = Guard(end_links, [str(self._ground.data_dir), self._id])
        try:
            self._ground.links.set(chosen, self._toxics, _MAX_SECONDS, fault_id=self._id)
        except Refused:
            self._guard.dismiss()
            raise
        return f"{', '.join(chosen)}: {' '.join(toxic.kind for toxic in self._toxics)}"

    def end(self) -> str:
        """Take them away."""
        try:
            self._met = self._ground.links.end(self._id)
        except NotListening as late:
            return f"{', '.join(self._names)} as before, but: {late}"
        except Refused as gone:
            return f"the links have gone themselves ({gone})"
        finally:
            if self._guard is not None:
                self._guard.dismiss()
        return f"{', '.join(self._names)} as before; {self._met} chunks or connections were affected"

    def met(self) -> int | None:
        """Chunks delayed, slowed, held or lost, and connections ended."""
        with suppress(Refused):
            self._met = self._ground.links.met(self._id)
        return self._met


def end_links(arguments: Sequence[str]) -> None:
    """End the faults on links of this data directory that have these ids."""
    data_dir, *faults = arguments
    for fault in faults:
        with Links(Path(data_dir)) as links, suppress(Refused):
            links.end(fault)


def link(ground: Ground, words: Sequence[str]) -> LinkFault:
    """`A->B delay=50ms …`; `*` stands for any process, and `A:B` is the same without a shell's redirection."""
    if not words:
        raise Refused("name a link, such as 'gateway->orders' or gateway:orders, and a fault for it")
    name = words[0] if "->" in words[0] else words[0].replace(":", "->", 1)
    if "->" not in name:
        raise Refused(f"{words[0]} is not a link: write 'gateway->orders' (in quotes) or gateway:orders")
    try:
        toxics = parse(words[1:])
    except ValueError as error:
        raise Refused(str(error)) from error
    return LinkFault(ground, f"link {name} {' '.join(words[1:])}", [name], toxics)


def server(ground: Ground, kind: str, words: Sequence[str]) -> Fault:
    """`broker down|slow|silent|alarm`, `database down|slow|silent|full [SERVICE]`: links there, or its file."""
    setting, scheme, manners = _SERVERS[kind]
    how, service = words[0] if words else "", words[1] if len(words) > 1 else ""
    known = [*manners, *(["full"] if kind == "database" else [])]
    if how not in known or len(words) > 2 or (service and kind == "broker"):
        raise Refused(f"usage: {kind} {'|'.join(known)}" + (" [SERVICE]" if kind == "database" else ""))
    if how == "full":
        return full(ground, service)
    text = " ".join([kind, *words])
    if ground.env.get(setting, "").startswith(scheme):
        return LinkFault(ground, text, [f"{service or '*'}->{kind}"], parse(manners[how]))
    if how == "alarm":
        raise Refused("alarm needs RabbitMQ, and this shop has the embedded broker: try `database full orders`")
    if kind == "broker":
        return FileLock(ground, text, [ground.data_dir / "broker.sqlite"], slow=how == "slow")
    if not service:
        raise Refused(f"each service has a file of its own: name it, as in `{text} orders`")
    return FileLock(ground, text, [ground.data_dir / f"{service}.sqlite"], slow=how == "slow")


class FileLock:
    """Holds the write lock of SQLite files: writers wait, readers do not."""

    momentary = False

    def __init__(self, ground: Ground, words: str, files: Sequence[Path], *, slow: bool) -> None:
        self.words = words
        self._ground, self._files, self._slow = ground, files, slow
        self._over = threading.Event()
        self._holders: list[threading.Thread] = []
        self._met = 0
        # Of each holder: nothing once it has its lock, or why it has not.
        self._taken: SimpleQueue[str] = SimpleQueue()

    def begin(self) -> str:
        """Take the locks. Raises `Refused` for a file that is not there, or that another has locked."""
        for file in self._files:
            if not file.exists():
                raise Refused(f"there is no {file.name} in {file.parent}")
        self._holders = [threading.Thread(target=self._hold, args=(file,), daemon=True) for file in self._files]
        for holder in self._holders:
            holder.start()
        for _ in self._holders:
            if refusal := self._taken.get():
                self._over.set()
                raise Refused(f"{refusal}; is another fault at work on it?")
        how = "slow to write" if self._slow else "locked: no process can write"
        return f"{', '.join(file.name for file in self._files)} {how}"

    def end(self) -> str:
        """Give them back."""
        self._over.set()
        for holder in self._holders:
            holder.join(_SEEN_WITHIN + 30)
        return f"{', '.join(file.name for file in self._files)} can be written again"

    def met(self) -> int | None:
        """Writes during the pauses of a slow file, and within three seconds of its release."""
        return self._met

    def _hold(self, file: Path) -> None:
        with closing(sqlite3.connect(file, timeout=_LOCK_SECONDS, isolation_level=None)) as connection:
            first = True
            while not self._over.is_set():
                try:
                    connection.execute("BEGIN IMMEDIATE")
                except sqlite3.Error as error:
                    if first:
                        self._taken.put(f"{file.name} cannot be locked: {error}")
                        return
                    continue  # a writer that takes long; it is tried again until the fault is over
                if first:
                    self._taken.put("")
                    first = False
                version = _version(connection)
                self._over.wait(_HELD if self._slow else None)
                connection.execute("ROLLBACK")
                pause = _SEEN_WITHIN if self._over.is_set() else _PERIOD - _HELD
                self._met += _written(connection, version, pause)


def _version(connection: sqlite3.Connection) -> int:
    """Changes when another connection commits."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _written(connection: sqlite3.Connection, version: int, within: float) -> bool:
    """Whether another connection writes within so many seconds."""
    deadline = time.monotonic() + within
    while _version(connection) == version:
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL)
    return True


def _matches(wanted: str, name: str) -> bool:
    sides = zip(wanted.split("->", 1), name.split(":", 1)[0].split("->", 1), strict=True)
    return wanted == name or all(each in ("*", found) for each, found in sides)
