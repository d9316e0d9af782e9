"""Content of the start page of webhooks."""

from __future__ import annotations

from chassis.webpages.start_page import Link

ABOUT = "Partners call back here. A webhook is verified over its raw bytes, stored, answered, and then processed."
LINKS = (
    Link("", "POST /webhooks/stripe", "payments: payment_intent.succeeded, payment_intent.payment_failed"),
    Link("", "POST /webhooks/shopify", "orders of the sales channel: orders/create"),
    Link("", "POST /webhooks/github", "course material: push"),
    Link("", "POST /webhooks/standard", "the carrier: shipment.delivered"),
    Link("/healthz", "/healthz", "whether the process is alive"),
    Link("/readyz", "/readyz", "whether it can store webhooks"),
)
EXAMPLE = "shop partner send stripe --fault forged\nshop webhooks list"
