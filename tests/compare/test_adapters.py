"""Every adapter answers the same, is short, and is refused when it does not."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

pytest.importorskip("hdrh", reason="not run: needs hdrhistogram, of the development environment")
pytest.importorskip("connectrpc", reason="not run: needs connectrpc, of the development environment")

from bench.compare import command
from bench.compare.adapters.messages import page_rows
from bench.compare.adapters.port import Selection
from bench.compare.adapters.rows import brief
from bench.compare.bench import Bench, Unequal, check_equal
from bench.compare.experiments.e1_read import count_bytes, distinguished, round_trips
from bench.compare.measure.folder import Folder
from bench.compare.measure.statistics import digest
from bench.compare.variants import reads
from gateway.http.serializers import product
from protos.shop.catalog.v1 import catalog_pb2 as pb
from shop.errors import Refused
from tests.conftest import RABBITMQ_URL

ADAPTERS = Path(__file__).parents[2] / "bench" / "compare" / "adapters"
MAX_LINES = 60


@pytest.mark.parametrize("microsecond", [0, 120_000, 123_000, 123_456])
def test_a_moment_is_one_text_over_every_protocol(microsecond: int) -> None:
    """A protobuf row has the time as the REST API's JSON writes it, also in a whole second or millisecond."""
    message = pb.Product(id="42")
    message.updated_at.FromDatetime(datetime(2026, 1, 5, 9, 0, 0, microsecond, UTC))
    (row,) = page_rows(pb.ListProductsResponse(products=[message]), ["updated_at"])
    assert row == {"updated_at": orjson.loads(orjson.dumps(product(message), option=orjson.OPT_UTC_Z))["updated_at"]}


@pytest.mark.timeout(240)
async def test_every_variant_answers_the_same(tmp_path: Path) -> None:
    """One product and three at once: the same canonical form over every protocol; and one that differs is named."""
    async with AsyncExitStack() as stack:
        bench = Bench(Folder(tmp_path), stack, quick=True, bare=True)
        pairs = await bench.pairs(reads({}, bench.tls()))
        assert await check_equal(pairs, Selection()) == digest([brief("42")])
        ids = ("1", "2", "3")
        # A trusted document is one for a single product.
        several = [pair for pair in pairs if pair.variant.name != "graphql-trusted"]
        assert await check_equal(several, Selection(ids=ids)) == digest([brief(each) for each in ids])
        with pytest.raises(Unequal, match="REST"):
            await check_equal(pairs[:1], Selection(), digest([brief("43")]))


@pytest.mark.timeout(240)
async def test_tls_is_what_a_call_has_more_with_it(tmp_path: Path) -> None:
    """Its answer is the same, and of its bytes all that are not TLS are those of the call without it."""
    async with AsyncExitStack() as stack:
        bench = Bench(Folder(tmp_path), stack, quick=True, bare=True)
        plain, secured = await bench.pairs([each for each in reads({}, bench.tls()) if each.adapter == "rest"])
        without = await count_bytes(plain, Selection(), steady=3)
        rows = distinguished(await count_bytes(secured, Selection(), steady=3), without)
        for row, other in zip(rows, without, strict=True):
            for way in ("up", "down"):
                layers = dict(row[f"layers_{way}"])
                assert layers.pop("TLS") >= 22  # a record's head and its tag, once the connection is there
                assert layers == other[f"layers_{way}"]
        assert await round_trips(secured, Selection(), 2) == await round_trips(plain, Selection(), 2) + 1 == 3
        with pytest.raises(ValueError, match="fewer bytes up with TLS than without"):
            distinguished(without, rows)


@pytest.mark.parametrize("url", ["amqps://guest:secret@127.0.0.1", "amqp://guest:secret@rabbitmq.example:5672/"])
def test_a_broker_that_is_not_beside_us_is_refused_before_anything_starts(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy that counts bytes is on this machine, without TLS: another broker is named, and not its password."""
    monkeypatch.setenv("SHOP_BROKER_URL", url)
    folder = tmp_path / "run"
    with pytest.raises(Refused, match=r"SHOP_BROKER_URL must begin with amqp:// and name 127\.0\.0\.1") as refused:
        command.compare(["E1"], quick=True, lie=False, bare=True, folder=folder, draw_only=None)
    assert "secret" not in str(refused.value)
    assert not folder.exists()


def test_amqp_has_a_row_where_a_rabbitmq_is_on_this_machine() -> None:
    """The embedded broker and no broker are no RabbitMQ; one on this machine is, under either of its names."""
    for url in ("amqp://guest:guest@127.0.0.1:5672/", "amqp://localhost"):
        assert reads({"SHOP_BROKER_URL": url}, "")[-1].name == "amqp"
    for url in ("", "embedded:/path/to/broker.sqlite"):
        assert "amqp" not in [each.name for each in reads({"SHOP_BROKER_URL": url}, "")]


@pytest.mark.rabbitmq
async def test_amqp_answers_the_same_where_there_is_a_rabbitmq(tmp_path: Path) -> None:
    """Request and reply over the broker have the same answer, and each of its bytes belongs to a layer."""
    async with AsyncExitStack() as stack:
        bench = Bench(Folder(tmp_path), stack, quick=True, bare=True)
        pair = await bench.pair(reads({"SHOP_BROKER_URL": RABBITMQ_URL}, "")[-1])
        assert await check_equal([pair], Selection()) == digest([brief("42")])
        for row in await count_bytes(pair, Selection(), steady=3):
            assert row["up"] > row["layers_up"]["body"] > 0
            assert row["down"] > row["layers_down"]["body"] > 0


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(ADAPTERS.glob("*.py")) if "\nasync def connect" in path.read_text()],
    ids=lambda p: p.stem,
)
def test_adapters_are_short(path: Path) -> None:
    """A reader who doubts a row reads its adapter: at most 60 lines, client and server."""
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_modules_and_packages_are_of_a_readable_size() -> None:
    """At most 300 lines a module, at most twelve modules a package."""
    modules = list(ADAPTERS.parent.rglob("*.py"))
    assert {path.name: n for path in modules if (n := len(path.read_text().splitlines())) > 300} == {}
    packages = {path.parent for path in modules}
    counts = {each.name: len([path for path in each.glob("*.py") if path.stem != "__init__"]) for each in packages}
    assert {name: count for name, count in counts.items() if count > 12} == {}
