"""Delivery of the event log to authorized, subscribed clients."""
