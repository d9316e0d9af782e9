"""shop.webhooks.v1.WebhookAdminService over gRPC: parse, call one use case, render."""

from __future__ import annotations

from typing import Any

from chassis.auth.identity import admin, current_principal
from chassis.errors import invalid
from chassis.grpc.timestamps import moment, timestamp
from chassis.pagination import decode_place, encode_place, page_size
from protos.shop.webhooks.v1 import webhooks_pb2 as pb
from protos.shop.webhooks.v1.webhooks_pb2_grpc import WebhookAdminServiceServicer
from webhooks.incoming.domain import Selection, Webhook
from webhooks.incoming.records import Records, WebhookRecord
from webhooks.incoming.replays import MAX_REPLAYS, Replays

POLICY = {"ListWebhooks": admin, "GetWebhook": admin, "ReplayWebhooks": admin, "ListWebhookRecords": admin}


class WebhookAdminApi(WebhookAdminServiceServicer):
    def __init__(self, replays: Replays, records: Records) -> None:
        self._replays = replays
        self._records = records

    async def ListWebhooks(self, request: pb.ListWebhooksRequest, context: Any) -> pb.ListWebhooksResponse:
        size = page_size(request.page_size, limit=MAX_REPLAYS)
        page = await self._replays.page(_selection(request.selection), after=decode_place(request.cursor), size=size)
        return pb.ListWebhooksResponse(
            webhooks=[_message(webhook) for webhook in page.webhooks], next_cursor=encode_place(page.next)
        )

    async def GetWebhook(self, request: pb.GetWebhookRequest, context: Any) -> pb.GetWebhookResponse:
        webhook, replays = await self._replays.show(request.id)
        return pb.GetWebhookResponse(
            webhook=_message(webhook),
            body=webhook.body,
            headers=webhook.headers,
            replays=[pb.Replay(at=timestamp(replay.at), by=replay.by, reason=replay.reason) for replay in replays],
        )

    async def ReplayWebhooks(self, request: pb.ReplayWebhooksRequest, context: Any) -> pb.ReplayWebhooksResponse:
        caller, more = current_principal(), False
        if request.ids:
            replayed = await self._replays.replay(list(dict.fromkeys(request.ids)), caller, request.reason)
        elif request.HasField("selection"):
            selection = _selection(request.selection)
            replayed, more = await self._replays.replay_selected(selection, caller, request.reason)
        else:
            raise invalid("no webhooks are selected to replay", ids="give ids or a selection")
        return pb.ReplayWebhooksResponse(webhooks=[_message(webhook) for webhook in replayed], more=more)

    async def ListWebhookRecords(
        self, request: pb.ListWebhookRecordsRequest, context: Any
    ) -> pb.ListWebhookRecordsResponse:
        size = page_size(request.page_size, limit=MAX_REPLAYS)
        page = await self._records.page(after=decode_place(request.cursor), size=size)
        return pb.ListWebhookRecordsResponse(
            records=[_record(record) for record in page.records],
            next_cursor=encode_place(page.next),
            complete_since=timestamp(page.complete_since),
        )


def _selection(message: pb.Selection) -> Selection:
    since = moment(message, "since") if message.HasField("since") else None
    until = moment(message, "until") if message.HasField("until") else None
    return Selection(message.provider, since, until, message.failed)


def _record(record: WebhookRecord) -> pb.WebhookRecord:
    news = record.payment
    payment = (
        pb.PaymentNews(order_id=news.order_id, payment_id=news.payment_id, amount=news.amount, currency=news.currency)
        if news
        else None
    )
    return pb.WebhookRecord(webhook=_message(record.webhook), published=record.published, payment=payment)


def _message(webhook: Webhook) -> pb.Webhook:
    return pb.Webhook(
        id=webhook.id,
        provider=webhook.provider,
        provider_event_id=webhook.provider_event_id,
        event_type=webhook.event_type,
        received_at=timestamp(webhook.received_at),
        status=webhook.status,
        attempts=webhook.attempts,
        error=webhook.error,
        outcome=webhook.outcome or "",
        replays=webhook.replays,
    )
