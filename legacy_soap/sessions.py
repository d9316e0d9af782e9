"""Sessions: a login's id is good for a while, and only until the ERP restarts."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Callable

from legacy_soap.documents import Refusal

MAX_SESSIONS = 1000


class Sessions:
    """The open sessions; when there are too many, the oldest one ends."""

    def __init__(self, user: str, password: str, seconds: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._credentials = f"{user}\n{password}".encode()
        self._seconds = seconds
        self._clock = clock
        self._ends: dict[str, float] = {}
        self._lock = threading.Lock()

    def open(self, user: str, password: str) -> tuple[str, int]:
        """A new session's id and for how many seconds it is good. Refuses with ERR-002."""
        if not hmac.compare_digest(f"{user}\n{password}".encode(), self._credentials):
            raise Refusal("ERR-002", "LOGIN REFUSED")
        session = secrets.token_hex(16).upper()
        with self._lock:
            while len(self._ends) >= MAX_SESSIONS:
                del self._ends[next(iter(self._ends))]
            self._ends[session] = self._clock() + self._seconds
        return session, self._seconds

    def check(self, session: str) -> None:
        """Refuse with ERR-001 unless this session is open."""
        with self._lock:
            if self._clock() < self._ends.get(session, float("-inf")):
                return
            self._ends.pop(session, None)
        raise Refusal("ERR-001", "NO VALID SESSION")
