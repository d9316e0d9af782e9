"""The demo products: enough to explore, and the articles' own examples (42, and 123, the course)."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from services.catalog.domain import Product

_ADDED = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)

# id, name, category, price, description
PRODUCTS = (
    (
        "42",
        "Mechanical Keyboard",
        "hardware",
        "89.00",
        "Eighty-seven keys, hot-swappable switches, a cable that comes off.",
    ),
    (
        "123",
        "Software Architecture",
        "courses",
        "49.00",
        "A course: which protocol belongs at which boundary, and why.",
    ),
    ("1", "Trackball", "hardware", "59.00", "Moves the pointer without moving the hand."),
    ("2", "Desk Lamp", "hardware", "39.50", "Warm light that does not shine into the screen."),
    ("3", "USB-C Dock", "hardware", "129.00", "Two screens, wired network and power over one cable."),
    ("4", "Noise-Cancelling Headphones", "hardware", "199.00", "For open-plan offices and long builds."),
    ("5", "Webcam", "hardware", "74.90", "With a shutter one can see is closed."),
    ("6", "Standing Desk Mat", "hardware", "45.00", "Kind to feet during long incidents."),
    (
        "7",
        "Core Memory Plane, Framed",
        "collectors",
        "349.00",
        "Sixty-four hand-woven bits from before semiconductors; very few left.",
    ),
    ("8", "Punched Card Notebook", "collectors", "12.00", "Eighty columns, twelve rows, plain paper."),
    ("9", "Slide Rule", "collectors", "34.00", "Multiplies without electricity."),
    ("10", "Nixie Clock", "collectors", "149.00", "Six glowing tubes; no network, never out of sync by much."),
    ("11", "Messaging Patterns", "books", "44.00", "Queues, topics, outboxes and what happens when the consumer dies."),
    ("12", "The Wire Protocol Field Guide", "books", "38.00", "How to read a hex dump at breakfast."),
    ("13", "Contracts First", "books", "29.90", "Interface definition languages from IDL to proto3."),
    ("14", "Legacy Gracefully", "books", "41.00", "Putting an adapter in front of what nobody dares to change."),
    ("15", "Event Streaming in Practice", "courses", "59.00", "Logs, positions, replay: six hours with exercises."),
    ("16", "GraphQL Without Regret", "courses", "39.00", "Batching, limits and errors before the first outage."),
    ("17", "Webhooks That Hold", "courses", "35.00", "Signatures, replay and doing nothing twice."),
    ("18", "gRPC From Zero", "courses", "45.00", "All four kinds of call and when each is worth it."),
    ("19", "Coffee Subscription", "provisions", "18.00", "A pound of beans a month."),
    ("20", "Green Tea", "provisions", "9.50", "For reviews that take longer."),
    ("21", "Rubber Duck", "provisions", "7.00", "Listens; never interrupts."),
    ("22", "Sticker Sheet", "provisions", "4.00", "Every HTTP status worth putting on a lid."),
)


def demo_products() -> list[Product]:
    return [
        Product(
            product_id, name, description, category, Decimal(price), "EUR", f"/v1/files/product-{product_id}", _ADDED, 1
        )
        for product_id, name, category, price, description in PRODUCTS
    ]
