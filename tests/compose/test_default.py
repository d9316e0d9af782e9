"""The shop as `docker compose up --build --wait` leaves it: the journey, and what happens when parts of it die."""

from __future__ import annotations

import ast
import asyncio

import httpx
import pytest

from shop.process_table import TABLE
from tests.compose.metrics import asked, scraped
from tests.compose.sockets import Customer
from tests.compose.stack import PUBLISHED, Stack, inspected
from tests.waiting import eventually

# In this order: each test leaves the shop whole.
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

QUERY = 'query { user(id: "123") { name email orders { id total items { product { name price } } } } }'
MAX_BYTES = 350_000_000
PROTOCOLS = {"REST", "gRPC", "AMQP", "SOAP", "webhook", "SMTP"}
SURFACE = {
    "SHOP_GATEWAY_PORT": ["/healthz", "/readyz", "/openapi.json", "/.well-known/jwks.json"],
    "SHOP_NOTIFIER_PORT": ["/readyz"],
    "SHOP_WEBHOOKS_PORT": ["/readyz"],
    "SHOP_CONSOLE_PORT": ["/readyz", "/api/traces"],
}
# Reads each address's metrics inside, and prints {address: names}; what was not yet counted has a type only.
SCRAPE = r"""
import re, sys, urllib.request
def names(url):
    text = urllib.request.urlopen(url, timeout=5).read().decode()
    histograms = re.findall(r"^# TYPE (\w+) histogram", text, re.M)
    parts = [name + part for name in histograms for part in ("_bucket", "_count", "_sum")]
    return sorted({*re.findall(r"^# TYPE (\w+)", text, re.M), *parts})
print({url: names(url) for url in sys.argv[1:]})
"""


async def test_image_is_small_and_runs_as_nobody(stack: Stack) -> None:
    """The image is below 350 MB; every process runs as 10001 on a file system that it cannot write to."""
    (image,) = await inspected("polyglot-shop:dev")
    assert image["Size"] < MAX_BYTES
    containers = await stack.containers()
    for spec in TABLE:
        container = containers[spec.name]
        assert container["Config"]["User"] == "10001:10001"
        assert container["HostConfig"]["ReadonlyRootfs"] is True
        assert container["Config"]["Healthcheck"]["Test"][-1] == "shop.commands.processes.healthy"


async def test_only_the_edge_is_published(stack: Stack) -> None:
    """Four processes have a port on the host, and no gRPC among them."""
    containers = await stack.containers()
    published = {name for name, each in containers.items() if any(each["NetworkSettings"]["Ports"].values())}
    assert published == {"gateway", "notifier", "webhooks", "console"}


async def test_ports_answer_as_the_surface_says(stack: Stack) -> None:
    """Health and the API's description are where clients look for them."""
    assert SURFACE.keys() <= PUBLISHED.keys()
    for setting, paths in SURFACE.items():
        async with stack.client(setting) as http:
            for path in paths:
                assert (await http.get(path)).status_code == httpx.codes.OK, path


async def test_no_role_signs_in_to_anothers_database(stack: Stack) -> None:
    """A service's role cannot even connect to another service's database, and the superuser has no password."""
    # By its name: from its own loopback interface PostgreSQL's image lets any role in.
    own = "postgresql://orders:development-only-database-orders@postgres"
    for url in (f"{own}/users", "postgresql://postgres:not-kept@postgres/orders"):
        command = f"psql '{url}' -c 'SELECT 1' 2>&1"
        assert "FATAL" in await stack.compose("exec", "-T", "postgres", "sh", "-c", command, failing=True)
    assert "1 row" in await stack.compose("exec", "-T", "postgres", "psql", f"{own}/orders", "-c", "SELECT 1")


async def test_order_is_shipped_and_every_event_seen(stack: Stack) -> None:
    """An order placed by REST is shipped, its events come over the WebSocket, and GraphQL shows it."""
    customer = Customer(stack)
    async with customer.connected():
        order_id = await stack.place()
        await customer.sees_shipped(order_id)
    async with stack.client() as http:
        answer = (await http.post("/graphql", json={"query": QUERY}, headers=await stack.bearer())).json()
    assert "errors" not in answer, answer
    assert order_id in {order["id"] for order in answer["data"]["user"]["orders"]}


async def test_its_trace_reaches_the_console(stack: Stack) -> None:
    """One trace holds the order's way from the gateway to the mail."""
    async with stack.client() as http, stack.client("SHOP_CONSOLE_PORT") as console:
        body = {"items": [{"product_id": "20", "quantity": 1}]}
        response = await http.post("/v1/orders", json=body, headers=await stack.bearer())
        trace_id = response.headers["traceparent"].split("-")[1]

        async def whole() -> bool:
            found = await console.get(f"/api/traces/{trace_id}")
            assert found.status_code == httpx.codes.OK
            return {span["protocol"] for span in found.json()["spans"]} >= PROTOCOLS

        await eventually(whole, within=60)


async def test_webhook_that_is_not_signed_is_refused(stack: Stack) -> None:
    """The receiver is reachable from outside, and refuses a webhook without a signature."""
    async with stack.client("SHOP_WEBHOOKS_PORT") as http:
        headers = {"X-Hub-Signature-256": f"sha256={'0' * 64}", "X-GitHub-Delivery": "1"}
        response = await http.post("/webhooks/github", json={}, headers=headers)
    assert response.status_code == httpx.codes.UNAUTHORIZED


async def test_dashboards_ask_for_what_is_exported(stack: Stack) -> None:
    """Each address that Prometheus scrapes answers, and each metric of a dashboard is among the answers."""
    printed = await stack.compose("exec", "-T", "console", "python", "-c", SCRAPE, *scraped())
    exported = {name for names in ast.literal_eval(printed).values() for name in names}
    assert len(asked()) > 10
    assert asked() - exported == set()


async def test_client_resumes_when_its_notifier_was_killed(stack: Stack) -> None:
    """Events of orders that went on while the notifier was dead come after reconnecting, each once and in order."""
    customer = Customer(stack)
    async with customer.connected() as socket:
        first = await stack.place()
        await customer.sees_shipped(first)
        await stack.kill("notifier")
        async with asyncio.timeout(30):
            await socket.wait_closed()
    missed = await stack.place()
    await stack.reaches(missed, "shipped")
    await stack.start("notifier")
    async with customer.connected():
        await customer.sees_shipped(missed)
        later = await stack.place()
        await customer.sees_shipped(later)
    assert customer.seen(first).count("order.shipped") == 1


async def test_orders_goes_on_where_it_was_killed(stack: Stack) -> None:
    """With orders and its worker killed in the middle of ten orders, each of them is shipped, once."""
    order_ids = [await stack.place() for _ in range(10)]
    await stack.kill("order_worker")
    await stack.kill("orders")
    async with stack.client() as http:
        response = await http.get(f"/v1/orders/{order_ids[0]}", headers=await stack.bearer())
        assert response.status_code in (httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT)
    await stack.start("orders", "order_worker")
    for order_id in order_ids:
        await stack.reaches(order_id, "shipped", within=90)
    await stack.books_agree()


async def test_broker_and_database_may_restart(stack: Stack) -> None:
    """A process that lost its broker and database finds both again with all that was accepted, even after a kill."""
    order_ids = [await stack.place()]
    await stack.compose("restart", "rabbitmq", "postgres", within=120)
    await eventually(lambda: stack.healthy("rabbitmq", "postgres"), within=90)
    order_ids.append(await stack.place())
    await stack.kill("rabbitmq")
    await stack.kill("postgres")
    await stack.start("rabbitmq", "postgres")
    order_ids.append(await stack.place())
    for each in order_ids:
        await stack.reaches(each, "shipped", within=90)
    await stack.books_agree()


async def test_nothing_ended_by_itself(stack: Stack) -> None:
    """After all that, no container was killed for want of memory, or had to be started a second time."""
    for name, container in (await stack.containers()).items():
        assert container["State"]["OOMKilled"] is False, name
        assert container["RestartCount"] == 0, name


async def test_first_start_prints_no_error_of_postgresql(stack: Stack) -> None:
    """Services look for their schema without asking for tables that are not there yet."""
    printed = await stack.compose("logs", "--no-color", "postgres")
    assert "alembic_version" not in printed


async def test_status_is_of_the_shop_around_it(stack: Stack) -> None:
    """`shop status`, run inside, checks every process that has a port."""
    report = await stack.tool("status", "--json")
    assert report["ready"] is True
    assert {each["name"] for each in report["processes"]} == {spec.name for spec in TABLE if spec.ports}
