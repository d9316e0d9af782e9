"""AMQP request/reply through RabbitMQ, by aio-pika on both sides: direct reply-to, and nothing that is durable."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from yarl import URL

from bench.compare.adapters import rows
from bench.compare.adapters.port import Call, Link, Rows, Selection

_REPLIES = "amq.rabbitmq.reply-to"


@asynccontextmanager
async def serve(options: Sequence[str]) -> AsyncIterator[int]:
    """Options: the broker's URL and a queue's name, which goes with this process. Yields the broker's port."""
    url, name = options
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=False)

        async def answer(message: AbstractIncomingMessage) -> None:
            body = json.dumps(rows.brief(json.loads(message.body)["product"])).encode()
            reply = aio_pika.Message(body, correlation_id=message.correlation_id)
            await channel.default_exchange.publish(reply, message.reply_to or "", mandatory=False)

        await (await channel.declare_queue(name, auto_delete=True)).consume(answer, no_ack=True)
        yield URL(url).port or 5672


@asynccontextmanager
async def connect(link: Link) -> AsyncIterator[Call]:
    url, name, *_ = link.options
    waiting: dict[str, asyncio.Future[Any]] = {}
    async with await aio_pika.connect(URL(url).with_port(link.port)) as connection:
        channel = await connection.channel(publisher_confirms=False)

        async def received(message: AbstractIncomingMessage) -> None:
            waiting.pop(str(message.correlation_id)).set_result(json.loads(message.body))

        await (await channel.get_queue(_REPLIES, ensure=False)).consume(received, no_ack=True)

        async def call(selection: Selection) -> Rows:
            return [await get(each) for each in selection.ids]

        async def get(product_id: str) -> Any:
            answer = waiting.setdefault(number := uuid.uuid4().hex, asyncio.Future())
            body = json.dumps({"product": product_id}).encode()
            message = aio_pika.Message(body, correlation_id=number, reply_to=_REPLIES)
            await channel.default_exchange.publish(message, name)
            return await answer

        yield call
