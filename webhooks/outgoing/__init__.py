"""Outgoing webhooks: order events for registered endpoints (Standard Webhooks)."""
