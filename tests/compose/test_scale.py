"""The profile `scale`: copies share what they must, and one that dies is not missed."""

from __future__ import annotations

import asyncio

import pytest

from tests.compose.sockets import Customer
from tests.compose.stack import SIGN_INS, Stack
from tests.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]

GATEWAY, NOTIFIER = "SHOP_BALANCED_GATEWAY_PORT", "SHOP_BALANCED_NOTIFIER_PORT"


async def test_every_queue_lives_on_three_nodes(scaled: Stack) -> None:
    """Queues that began on one node, and the event log, have a member on each of three."""

    async def spread() -> bool:
        listed = await scaled.compose(
            "exec", "-T", "rabbitmq", "rabbitmqctl", "-q", "list_queues", "-p", "shop", "name", "members", within=60
        )
        members = {line.split()[0]: line.count("rabbit@") for line in listed.splitlines() if "rabbit@" in line}
        assert len(members) == 22, listed
        assert set(members.values()) == {3}, members
        return True

    await eventually(spread, within=90)


async def test_gateways_share_their_counts(scaled: Stack) -> None:
    """Through both gateways in turn, one client's requests count down by one each: the counts are in Redis."""
    async with scaled.client(GATEWAY) as http:

        async def in_step() -> bool:
            responses = [await http.get("/v1/products/42") for _ in range(6)]
            remaining = [int(each.headers["ratelimit"].partition("r=")[2].partition(";")[0]) for each in responses]
            assert {each.headers["x-served-by"] for each in responses} == {"gateway", "gateway_2"}
            # Not where a new window begins among them; the next six are in it.
            assert remaining == list(range(remaining[0], remaining[0] - 6, -1))
            return True

        await eventually(in_step, within=20)


async def test_limit_holds_for_both_gateways_together(scaled: Stack) -> None:
    """Sign-ins beyond the limit are refused with 429, whichever gateway they come to."""
    wrong = {"username": "nobody@shop.test", "password": "wrong"}
    answers: dict[str, list[int]] = {"gateway": [], "gateway_2": []}
    async with scaled.client(GATEWAY) as http:
        for _ in range(SIGN_INS + 4):
            response = await http.post("/v1/auth/token", data=wrong)
            answers[response.headers["x-served-by"]].append(response.status_code)
    refused = [statuses.count(429) for statuses in answers.values()]
    assert all(count >= 1 for count in refused), answers
    assert sum(statuses.count(401) for statuses in answers.values()) <= SIGN_INS


async def test_every_copy_of_notifier_tells_of_every_order(scaled: Stack) -> None:
    """Customers on three copies see the same order's events: the event log is the backplane."""
    customers = [Customer(scaled, NOTIFIER) for _ in range(6)]
    async with asyncio.TaskGroup() as group:
        done = asyncio.Event()
        told = [group.create_task(_watch(customer, done)) for customer in customers]
        try:
            await eventually(lambda: all(customer.copy for customer in customers), within=30)
            assert {customer.copy for customer in customers} == {"notifier", "notifier_2", "notifier_3"}
            order_id = await scaled.place(by=GATEWAY)
            for customer in customers:
                await customer.sees_shipped(order_id)
        finally:
            done.set()
        assert len(told) == len(customers)


async def _watch(customer: Customer, done: asyncio.Event) -> None:
    async with customer.connected():
        await done.wait()


async def test_client_of_a_killed_copy_resumes_at_another(scaled: Stack) -> None:
    """Who was connected to a copy that dies goes on at another one where it was, without loss or repeat."""
    customer = Customer(scaled, NOTIFIER)
    async with customer.connected() as socket:
        first = await scaled.place(by=GATEWAY)
        await customer.sees_shipped(first)
        killed = customer.copy
        assert killed
        await scaled.kill(killed)
        async with asyncio.timeout(30):
            await socket.wait_closed()
    missed = await scaled.place(by=GATEWAY)
    async with customer.connected():
        assert customer.copy != killed
        await customer.sees_shipped(missed)
    await scaled.start(killed)


async def test_gateway_that_dies_is_not_missed(scaled: Stack) -> None:
    """With one of two gateways killed, orders are accepted through the other."""
    await scaled.kill("gateway_2")
    order_ids = [await scaled.place(by=GATEWAY) for _ in range(4)]
    for order_id in order_ids:
        await scaled.reaches(order_id, "shipped")
    await scaled.start("gateway_2")


async def test_broker_node_that_dies_is_not_missed(scaled: Stack) -> None:
    """With one of three broker nodes killed under way, every order is shipped and nothing is lost or done twice."""
    order_ids = [await scaled.place(by=GATEWAY) for _ in range(5)]
    await scaled.kill("rabbitmq")
    order_ids += [await scaled.place(by=GATEWAY) for _ in range(5)]
    for order_id in order_ids:
        await scaled.reaches(order_id, "shipped", within=120)
    await scaled.start("rabbitmq")
    await scaled.books_agree()


async def test_errors_of_the_load_balancer_are_problem_details(scaled: Stack) -> None:
    """With no gateway left the load balancer says so as the gateway would: RFC 9457, with Retry-After."""
    await scaled.compose("kill", "gateway", "gateway_2")
    async with scaled.client(GATEWAY) as http:

        async def refused() -> bool:
            response = await http.get("/v1/products/42")
            assert response.status_code == 503
            assert response.headers["content-type"] == "application/problem+json"
            assert response.headers["retry-after"]
            return bool(response.json()["status"] == 503)

        await eventually(refused, within=20)
    await scaled.start("gateway", "gateway_2")


async def test_products_outlive_storage(scaled: Stack) -> None:
    """A storage that is away takes no gateway out of service: products are still answered."""
    await scaled.kill("storage")
    async with scaled.client() as http:

        async def noticed() -> bool:
            return (await http.get("/readyz")).status_code == 503

        await eventually(noticed, within=30)
    # All copies are checked every second and given up after two failures. So once a notifier that was killed is given
    # up, the gateways have been checked as often.
    given_up = await _times_given_up(scaled, "notifiers/notifier_3")
    await scaled.kill("notifier_3")
    served_by: set[str] = set()
    async with scaled.client(GATEWAY) as http:

        async def given_up_meanwhile() -> bool:
            for _ in range(4):
                response = await http.get("/v1/products/42")
                if response.status_code != 200:
                    pytest.fail(f"{response.status_code}: {response.text}")
                served_by.add(response.headers["x-served-by"])
            return await _times_given_up(scaled, "notifiers/notifier_3") > given_up

        await eventually(given_up_meanwhile, within=30)
        served_by.clear()
        await given_up_meanwhile()
    assert served_by == {"gateway", "gateway_2"}
    await scaled.start("storage", "notifier_3")


async def _times_given_up(scaled: Stack, server: str) -> int:
    """How often the load balancer says that it took a server out of service."""
    logged = await scaled.compose("logs", "--no-color", "load_balancer")
    return logged.count(f"Server {server} is DOWN")


async def test_new_node_begins_no_second_cluster(scaled: Stack) -> None:
    """A node without data does not begin a cluster beside one that runs: it ends, and says what to do."""
    # In a directory of its own: what the container's volume holds is not touched.
    new = "sed s#/var/lib/rabbitmq/mnesia#/nowhere# /start >/tmp/start; sh /tmp/start 2>&1"
    run = ["run", "--rm", "-T", "--no-deps", "--entrypoint", "sh", "rabbitmq", "-c", new]
    printed = await scaled.compose(*run, failing=True)
    assert "rabbitmq_2 runs in a cluster of before" in printed
