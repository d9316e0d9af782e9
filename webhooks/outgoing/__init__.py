"""Outgoing webhooks: what happens to orders, told to whoever has registered an endpoint (Standard Webhooks)."""
