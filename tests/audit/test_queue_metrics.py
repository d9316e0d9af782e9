"""RabbitMQ's figures of its queues at its Prometheus endpoint, read as the audit needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from chassis.http.server import serve_http
from shop.audit.queue_metrics import unsettled

# As RabbitMQ 3.10 and 4.1 write it.
ANSWER = """# TYPE rabbitmq_detailed_queue_messages_ready gauge
# HELP rabbitmq_detailed_queue_messages_ready Messages ready to be delivered to consumers
rabbitmq_detailed_queue_messages_ready{vhost="shop",queue="t.order-mail"} 1
# TYPE rabbitmq_detailed_queue_messages gauge
# HELP rabbitmq_detailed_queue_messages Sum of ready and unacknowledged messages - total queue depth
rabbitmq_detailed_queue_messages{vhost="shop",queue="t.order-mail"} 2
rabbitmq_detailed_queue_messages{vhost="shop",queue="t.order-mail.retry"} 5
rabbitmq_detailed_queue_messages{vhost="shop",queue="t.order-mail.dead"} 7
rabbitmq_detailed_queue_messages{vhost="other",queue="t.order-mail"} 9
rabbitmq_detailed_queue_messages{vhost="shop",queue="t.order-processing"} 3
"""


@pytest.fixture
async def endpoint() -> AsyncIterator[str]:
    async def metrics(request: Request) -> Response:
        assert dict(request.query_params) == {"vhost": "shop", "family": "queue_coarse_metrics"}
        return PlainTextResponse(ANSWER)

    app = Starlette(routes=[Route("/metrics/detailed", metrics)])
    async with serve_http(app, host="127.0.0.1", port=0) as port:
        yield f"http://127.0.0.1:{port}"


async def test_ready_held_and_delayed_messages_are_counted(endpoint: str) -> None:
    """A queue's count is its own and its retries', ready or held; one of which a part is unknown is left out."""
    queues = ["order-mail", "order-processing", "order-fulfilment"]
    async with httpx.AsyncClient(timeout=60) as http:
        found = await unsettled(http, endpoint, "amqp://u:p@broker/shop?topology=declared&prefix=t.", queues)
    assert found == {"order-mail": 7}


async def test_node_that_does_not_answer_is_an_error() -> None:
    """A count that is missing is never taken for zero."""
    async with httpx.AsyncClient(timeout=60) as http:
        with pytest.raises(httpx.HTTPError):
            await unsettled(http, "http://127.0.0.1:9", "amqp://u:p@broker/shop", ["order-mail"])
