"""Depths of RabbitMQ's queues, unacknowledged messages included, from its Prometheus endpoint.

AMQP counts only ready messages, and a consumer holds those delayed for a retry. Each node reports the queues that it
leads, a few seconds late: https://www.rabbitmq.com/docs/prometheus#detailed-endpoint
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families

from shop.broker_nodes import endpoints

_METRIC = "rabbitmq_detailed_queue_messages"


async def unsettled(
    http: httpx.AsyncClient, metrics_url: str, broker_url: str, queues: Iterable[str]
) -> dict[str, int]:
    """The messages of each work queue and of its retries; a queue that no node reports is left out.

    Raises `httpx.HTTPError` or `OSError` where a node does not answer.
    """
    vhost, prefix = _place(broker_url)
    found: dict[str, int] = {}
    for node in await endpoints(metrics_url):
        parameters = {"vhost": vhost, "family": "queue_coarse_metrics"}
        answer = (await http.get(f"{node}/metrics/detailed", params=parameters)).raise_for_status()
        found |= dict(_counts(answer.text, vhost))
    names = {queue: (f"{prefix}{queue}", f"{prefix}{queue}.retry") for queue in queues}
    return {queue: sum(found[name] for name in both) for queue, both in names.items() if found.keys() >= set(both)}


def _counts(text: str, vhost: str) -> Iterator[tuple[str, int]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == _METRIC and sample.labels.get("vhost") == vhost:
                yield sample.labels["queue"], int(sample.value)


def _place(broker_url: str) -> tuple[str, str]:
    """The virtual host, and the prefix of our queues."""
    parts = urlsplit(broker_url)
    return unquote(parts.path[1:]) or "/", parse_qs(parts.query).get("prefix", [""])[0]
