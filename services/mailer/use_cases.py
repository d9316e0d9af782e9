"""The use cases of mailer, in plain types."""

from __future__ import annotations

import logging

from chassis.errors import not_found
from services.mailer.domain import News, render
from services.mailer.ports import Customers, MailTransport, SentMails

log = logging.getLogger(__name__)


class OrderMails:
    def __init__(self, customers: Customers, transport: MailTransport, sent: SentMails) -> None:
        self._customers = customers
        self._transport = transport
        self._sent = sent

    async def send_mail_about(self, news: News) -> None:
        """Send the mail about the news, unless it was sent before. Raises NOT_FOUND for an unknown customer.

        Sent first and recorded after: after a crash in between it is sent again, under the same Message-ID. The other
        order would lose the mail instead, and no order makes it exactly once: SMTP takes part in no transaction.
        """
        if await self._sent.contains(news.event_id):
            return
        customer = await self._customers.by_id(news.user_id)
        if customer is None:
            raise not_found("customer", news.user_id)
        mail = render(news, customer)
        await self._transport.send(mail)
        log.info("mail sent", extra={"order_id": mail.order_id, "kind": mail.kind})
        await self._sent.add(news.event_id)
