"""Where the example service `reviews` is named outside of its package: contract, tests, deployment, documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[3]

_COMPOSE = """  reviews:
    <<: *shop
    command: [run, reviews]
    environment: {<<: [*settings, *database]}
    secrets: [{source: reviews_database_url, target: database_url}]
    depends_on: {<<: [*needs_database]}
    deploy: {resources: {limits: {cpus: "1", memory: 80M}}}

  inventory:
    <<: *shop
"""

_SECRET = "SHOP_SECRETS:-./deploy/compose/secrets"

# Its manifests are those of `catalog`, which has an API and a database too, but calls no other service and no broker.
_CATALOG = (ROOT / "deploy/kubernetes/base/catalog.yaml").read_text()
MANIFEST = "\n".join(
    line.replace("catalog", "reviews").replace("50052", "50059")
    for line in _CATALOG.splitlines()
    if "SHOP_INVENTORY_ADDRESS" not in line and "SHOP_BROKER_URL" not in line
)
_FIRST_JOB, *_OTHER_JOBS = (ROOT / "deploy/kubernetes/base/migrations.yaml").read_text().split("\n---\n")
_JOB = next(job for job in _OTHER_JOBS if "name: migrate-catalog" in job)

PROTO = """syntax = "proto3";

package shop.reviews.v1;

import "google/protobuf/timestamp.proto";

// What customers say about products.
service ReviewService {
  // Stores the caller's review of a product, in place of an earlier one.
  rpc WriteReview(WriteReviewRequest) returns (WriteReviewResponse);
  // The newest reviews of a product.
  rpc ListReviews(ListReviewsRequest) returns (ListReviewsResponse);
}

// One customer's review of one product.
message Review {
  // The product's id.
  string product_id = 1;
  // Who wrote it.
  string user_id = 2;
  // 1 to 5.
  int32 stars = 3;
  // When it was written.
  google.protobuf.Timestamp written_at = 4;
}

// Request to store a review.
message WriteReviewRequest {
  // The product's id.
  string product_id = 1;
  // 1 to 5.
  int32 stars = 2;
}

// Response with the review.
message WriteReviewResponse {
  // As it is stored.
  Review review = 1;
}

// Request for reviews.
message ListReviewsRequest {
  // The product's id.
  string product_id = 1;
}

// Response with reviews.
message ListReviewsResponse {
  // At most 100, newest first.
  repeated Review reviews = 1;
}
"""

TESTS = '''from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from chassis.errors import Kind
from protos.shop.reviews.v1.reviews_pb2 import ListReviewsRequest, WriteReviewRequest
from protos.shop.reviews.v1.reviews_pb2_grpc import ReviewServiceStub
from services.reviews import bootstrap
from tests.services.conftest import Service, reached


@pytest_asyncio.fixture
async def reviews(common: dict[str, Any]) -> AsyncIterator[Service]:
    async with bootstrap.run(bootstrap.Settings(reviews_port=0, **common)) as running:
        assert running.port
        async with reached(ReviewServiceStub, running.port) as service:
            yield service


async def test_a_customer_has_one_review_of_a_product(reviews: Service) -> None:
    """A later review takes the place of the earlier one; every caller reads it."""
    for stars in (2, 5):
        await reviews.as_("7").call("WriteReview", WriteReviewRequest(product_id="42", stars=stars))
    found = await reviews.as_().call("ListReviews", ListReviewsRequest(product_id="42"))
    assert [(each.user_id, each.stars) for each in found.reviews] == [("7", 5)]


async def test_stars_are_one_to_five(reviews: Service) -> None:
    """Another number is refused, and the answer names the field."""
    refused = await reviews.as_("7").refusal("WriteReview", WriteReviewRequest(product_id="42", stars=6))
    assert (refused.kind, refused.fields) == (Kind.INVALID, {"stars": "must be 1 to 5"})


async def test_a_review_needs_a_token(reviews: Service) -> None:
    """A review needs a sign-in."""
    refused = await reviews.as_().refusal("WriteReview", WriteReviewRequest(product_id="42", stars=5))
    assert refused.kind is Kind.UNAUTHENTICATED
'''

CHANGED: Mapping[str, Sequence[tuple[str, str]]] = {
    "shop/process_table.py": [
        ('    _grpc("inventory",', '    _grpc("reviews", 50059, "reviews of products"),\n    _grpc("inventory",')
    ],
    "pyproject.toml": [
        (
            '"services.erp_adapter", "services.notifier",',
            '"services.erp_adapter", "services.reviews", "services.notifier",',
        ),
        (
            '  "services.reports",\n]',
            '  "services.reports", "services.reviews",\n]',
        ),
        (
            '  "services.erp_adapter.domain", "services',
            (
                '  "services.reviews.domain", "services.reviews.ports", "services.reviews.use_cases",\n'
                '  "services.erp_adapter.domain", "services'
            ),
        ),
    ],
    "tests/contract/test_retention.py": [
        (
            "from services.storage import",
            "from services.reviews import sql_store as reviews\nfrom services.storage import",
        ),
        ('    "services.storage":', '    "services.reviews": reviews.RETENTION,\n    "services.storage":'),
    ],
    "tests/services/test_policies.py": [
        ('    "erp": "ErpService",', '    "reviews": "ReviewService",\n    "erp": "ErpService",'),
        (
            '    "storage": {"Upload',
            '    "reviews": {"WriteReview": SIGNED_IN, "ListReviews": EVERYBODY},\n    "storage": {"Upload',
        ),
    ],
    "tests/services/test_enforced_policies.py": [
        (
            '    ("opentelemetry.',
            (
                '    ("protos.shop.reviews.v1.reviews_pb2", "SHOP_REVIEWS_ADDRESS", "services.reviews.grpc_api"),\n'
                '    ("opentelemetry.'
            ),
        ),
    ],
    "docker-compose.yml": [
        ("  inventory:\n    <<: *shop\n", _COMPOSE),
        (
            "  service_secrets: {file:",
            f'  reviews_database_url: {{file: "${{{_SECRET}}}/reviews/database_url"}}\n  service_secrets: {{file:',
        ),
        ("  SHOP_GATEWAY_URL:", "  SHOP_REVIEWS_ADDRESS: reviews:50059\n  SHOP_GATEWAY_URL:"),
    ],
    "tests/compose/test_files.py": [
        ("stay below 2.875 GiB", "stay below 3,024 MiB"),
        ("< 2944", "< 3024"),
    ],
    "deploy/compose/provision.py": [('"mailer", "reports"', '"mailer", "reviews", "reports"')],
    "deploy/compose/observability/prometheus.yml": [("names: [users, catalog,", "names: [users, catalog, reviews,")],
    "deploy/compose/observability/alerts.yml": [
        (
            'absent(up{process="users"})',
            'absent(up{process="users"})\n          or absent(up{process="reviews"})',
        )
    ],
    "deploy/kubernetes/base/kustomization.yaml": [("  - mailer.yaml\n", "  - mailer.yaml\n  - reviews.yaml\n")],
    "deploy/kubernetes/base/migrations.yaml": [
        (f"{_JOB}\n---\n", f"{_JOB}\n---\n{_JOB.replace('catalog', 'reviews')}\n---\n")
    ],
    "deploy/kubernetes/components/monitoring/monitors.yaml": [("reports, storage,", "reports, reviews, storage,")],
    "deploy/kubernetes/overlays/dev/kustomization.yaml": [
        ("  - {name: storage, envs:", "  - {name: reviews, envs: [secrets/reviews.env]}\n  - {name: storage, envs:")
    ],
    "deploy/kubernetes/overlays/dev/stores/databases.sh": [
        (" mailer reports webhooks;", " mailer reports reviews webhooks;")
    ],
    "README.md": [
        ("then nineteen processes", "then twenty processes"),
        ("as nineteen processes", "as twenty processes"),
    ],
    "docs/kubernetes.md": [
        ("| `storage` |", "| `reviews` | `SHOP_DATABASE_PASSWORD` |\n| `storage` |"),
        ("mailer, reports and webhooks", "mailer, reports, reviews and webhooks"),
    ],
    "docs/architecture.toml": [
        (
            '  { name = "orders", group',
            (
                '  { name = "reviews", group = "services", role = "reviews of products", database = "reviews" },\n'
                '  { name = "orders", group'
            ),
        ),
        (
            '  { from = "orders", to = "users", protocol = "gRPC", what = ["GetJwks"]',
            (
                '  { from = "reviews", to = "users", protocol = "gRPC", what = ["GetJwks"], kind = "identity" },\n'
                '  { from = "orders", to = "users", protocol = "gRPC", what = ["GetJwks"]'
            ),
        ),
        (
            '  { from = "orders", to = "console"',
            (
                '  { from = "reviews", to = "console", protocol = "OTLP", what = ["spans"], kind = "telemetry" },\n'
                '  { from = "orders", to = "console"'
            ),
        ),
    ],
    "docs/layout.toml": [("inventory = [", "reviews = [76, 590]\ninventory = [")],
}
