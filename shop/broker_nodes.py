"""The RabbitMQ nodes behind one name, and whether they are of one cluster.

Two clusters that answer to one name are healthy each, but a reader of one does not see what is published to the other.
The cluster's name does not distinguish them, since a new one has the old one's; its permanent id does:
https://www.rabbitmq.com/docs/prometheus
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families

_IDENTITY = "rabbitmq_identity_info"
_ID, _NODE = "rabbitmq_cluster_permanent_id", "rabbitmq_node"


async def endpoints(metrics_url: str) -> list[str]:
    """The Prometheus endpoint of every node behind a name. Raises `OSError` for a name that leads nowhere."""
    parts = urlsplit(metrics_url)
    port = parts.port or 15692
    found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    hosts = dict.fromkeys(address[0] for _, _, _, _, address in found)
    return [f"{parts.scheme}://{f'[{host}]' if ':' in str(host) else host}:{port}" for host in hosts]


async def split(http: httpx.AsyncClient, metrics_url: str) -> str:
    """Warning for a name to which more than one cluster answers; empty where it is one.

    Raises `httpx.HTTPError`, `OSError` or `ValueError` where a node does not name its cluster.
    """
    clusters: dict[str, list[str]] = {}
    for endpoint in await endpoints(metrics_url):
        answer = (await http.get(f"{endpoint}/metrics")).raise_for_status()
        labels = _identity(answer.text, endpoint)
        clusters.setdefault(labels[_ID], []).append(labels[_NODE])
    return _warning(urlsplit(metrics_url).hostname or "", list(clusters.values())) if len(clusters) > 1 else ""


def _identity(text: str, endpoint: str) -> Mapping[str, str]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == _IDENTITY and {_ID, _NODE} <= sample.labels.keys():
                return sample.labels
    raise ValueError(f"{endpoint} does not name its cluster")


def _warning(name: str, clusters: Sequence[Sequence[str]]) -> str:
    members = " and ".join(f"one of {', '.join(sorted(nodes))}" for nodes in clusters)
    return (
        f"{len(clusters)} clusters of RabbitMQ answer to {name}: {members}. Messages published to one never reach"
        " consumers of the other: stop all nodes, then start the nodes of one cluster"
    )
