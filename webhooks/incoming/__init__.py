"""Incoming webhooks: verified, stored before they are acknowledged, processed from a queue."""
