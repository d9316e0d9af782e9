"""The ports of the use case."""

from __future__ import annotations

from typing import Protocol

from services.mailer.domain import Customer, Mail


class Customers(Protocol):
    async def by_id(self, user_id: str) -> Customer | None:
        """Return a customer; None when there is no such account."""


class MailTransport(Protocol):
    async def send(self, mail: Mail) -> None:
        """Hand the mail to a server. Raises MAIL_REFUSED if that can never work, else UPSTREAM_UNAVAILABLE."""


class SentMails(Protocol):
    async def contains(self, event_id: str) -> bool: ...

    async def add(self, event_id: str) -> None: ...
