"""A service as an example: `reviews`, with a gRPC API and a database of its own."""

from __future__ import annotations

from tests.docs.recipes import Recipe
from tests.docs.recipes.service_elsewhere import CHANGED, MANIFEST, PROTO, TESTS

_INIT = '"""reviews: what customers say about products."""\n'

_MAIN = """from chassis.process import main
from services.reviews.bootstrap import run

if __name__ == "__main__":
    main("reviews", run)
"""

_DOMAIN = '''"""Reviews and their rules. No framework, no database, no wire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from chassis.errors import invalid

MAX_STARS = 5


@dataclass(frozen=True, slots=True)
class Review:
    product_id: str
    user_id: str
    stars: int
    written_at: datetime


def review(product_id: str, user_id: str, stars: int, at: datetime) -> Review:
    """Raise INVALID_INPUT for stars that are not 1 to 5."""
    if not 1 <= stars <= MAX_STARS:
        raise invalid("review is invalid", stars=f"must be 1 to {MAX_STARS}")
    return Review(product_id, user_id, stars, at)
'''

_PORTS = '''"""The port of the use cases."""

from __future__ import annotations

from typing import Protocol

from services.reviews.domain import Review


class ReviewStore(Protocol):
    async def put(self, review: Review) -> None:
        """Store a review in place of the same customer's earlier one of the product."""

    async def newest(self, product_id: str, size: int) -> list[Review]:
        """At most `size`, newest first."""
'''

_USE_CASES = '''"""The use cases of reviews, in plain types."""

from __future__ import annotations

from chassis import wall_clock
from services.reviews.domain import Review, review
from services.reviews.ports import ReviewStore

PAGE_SIZE = 100


class Reviews:
    def __init__(self, store: ReviewStore) -> None:
        self._store = store

    async def write(self, product_id: str, user_id: str, stars: int) -> Review:
        written = review(product_id, user_id, stars, wall_clock.now())
        await self._store.put(written)
        return written

    async def newest(self, product_id: str) -> list[Review]:
        return await self._store.newest(product_id, PAGE_SIZE)
'''

_STORE = '''"""Reviews in the service's own database."""

from __future__ import annotations

from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, delete, insert, select

from chassis.database.database import Database, UtcTime
from chassis.retention import MIGRATED, Kept, Retention
from services.reviews.domain import Review

metadata = MetaData()
reviews = Table(
    "reviews",
    metadata,
    Column("product_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("stars", Integer, nullable=False),
    Column("written_at", UtcTime, nullable=False),
)
RETENTION: Retention = {**MIGRATED, "reviews": Kept("one row for each customer and product")}


class SqlReviewStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, review: Review) -> None:
        def put(connection: Connection) -> None:
            earlier = (reviews.c.product_id == review.product_id) & (reviews.c.user_id == review.user_id)
            connection.execute(delete(reviews).where(earlier))
            connection.execute(
                insert(reviews),
                {
                    "product_id": review.product_id,
                    "user_id": review.user_id,
                    "stars": review.stars,
                    "written_at": review.written_at,
                },
            )

        await self._database.write(put)

    async def newest(self, product_id: str, size: int) -> list[Review]:
        statement = (
            select(reviews)
            .where(reviews.c.product_id == product_id)
            .order_by(reviews.c.written_at.desc(), reviews.c.user_id)
            .limit(size)
        )
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        return [Review(row.product_id, row.user_id, row.stars, row.written_at) for row in rows]
'''

_MIGRATION = '''"""Reviews."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "reviews",
        sa.Column("product_id", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("stars", sa.Integer, nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
    )
'''

_API = '''"""shop.reviews.v1 over gRPC: parse, call one use case, render."""

from __future__ import annotations

from typing import Any

from chassis.auth.identity import anyone, current_principal, signed_in
from chassis.grpc.timestamps import timestamp
from protos.shop.reviews.v1 import reviews_pb2 as pb
from protos.shop.reviews.v1.reviews_pb2_grpc import ReviewServiceServicer
from services.reviews.domain import Review
from services.reviews.use_cases import Reviews

POLICY = {"WriteReview": signed_in, "ListReviews": anyone}


class ReviewApi(ReviewServiceServicer):
    def __init__(self, use_cases: Reviews) -> None:
        self._reviews = use_cases

    async def WriteReview(self, request: pb.WriteReviewRequest, context: Any) -> pb.WriteReviewResponse:
        written = await self._reviews.write(request.product_id, current_principal().subject, request.stars)
        return pb.WriteReviewResponse(review=_message(written))

    async def ListReviews(self, request: pb.ListReviewsRequest, context: Any) -> pb.ListReviewsResponse:
        found = await self._reviews.newest(request.product_id)
        return pb.ListReviewsResponse(reviews=[_message(review) for review in found])


def _message(review: Review) -> pb.Review:
    return pb.Review(
        product_id=review.product_id,
        user_id=review.user_id,
        stars=review.stars,
        written_at=timestamp(review.written_at),
    )
'''

_BOOTSTRAP = '''"""The composition root of reviews: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from chassis.database.database import database
from chassis.grpc.identity_provider import identity_provider
from chassis.grpc.server import serve
from chassis.process import Running
from chassis.settings import ProcessSettings
from protos.shop.reviews.v1.reviews_pb2_grpc import add_ReviewServiceServicer_to_server
from services.reviews.grpc_api import POLICY, ReviewApi
from services.reviews.sql_store import SqlReviewStore
from services.reviews.use_cases import Reviews

MIGRATIONS = Path(__file__).parent / "migrations"


class Settings(ProcessSettings):
    reviews_port: int = 50059


@asynccontextmanager
async def run(settings: Settings | None = None) -> AsyncIterator[Running]:
    """Serve shop.reviews.v1 until the block ends."""
    settings = settings or Settings()
    async with (
        settings.telemetry("reviews") as spans,
        database(
            settings.database("reviews"), MIGRATIONS, create=settings.env == "development", migrate=settings.migrate
        ) as db,
        identity_provider(settings.users_address, spans, tls=settings.tls("reviews")) as provider,
        serve(
            (add_ReviewServiceServicer_to_server, ReviewApi(Reviews(SqlReviewStore(db)))),
            policy=POLICY,
            verifier=provider.verifier,
            telemetry=spans,
            host=settings.host,
            port=settings.reviews_port,
            reflection=settings.env == "development",
            tls=settings.tls("reviews"),
        ) as port,
    ):
        yield Running(port)
'''


SERVICE = Recipe(
    heading="Add a service",
    names={"service": "reviews"},
    new={
        "protos/shop/reviews/v1/reviews.proto": PROTO,
        "services/reviews/__init__.py": _INIT,
        "services/reviews/__main__.py": _MAIN,
        "services/reviews/bootstrap.py": _BOOTSTRAP,
        "services/reviews/domain.py": _DOMAIN,
        "services/reviews/ports.py": _PORTS,
        "services/reviews/use_cases.py": _USE_CASES,
        "services/reviews/grpc_api.py": _API,
        "services/reviews/sql_store.py": _STORE,
        "services/reviews/migrations/0001_reviews.py": _MIGRATION,
        "tests/services/test_reviews.py": TESTS,
        "deploy/kubernetes/base/reviews.yaml": MANIFEST + "\n",
        "deploy/kubernetes/overlays/dev/secrets/reviews.env": "SHOP_DATABASE_PASSWORD=development-only\n",
    },
    changed=CHANGED,
    needed=[
        "pyproject.toml",
        "shop/process_table.py",
        "tests/services/test_enforced_policies.py",
        "deploy/compose/provision.py",
    ],
)
