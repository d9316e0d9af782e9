"""Endpoints, deliveries and attempts in the service's own database."""

from webhooks.outgoing.sql_store.delivery_store import SqlDeliveryStore
from webhooks.outgoing.sql_store.endpoint_store import SqlEndpointStore

__all__ = ["SqlDeliveryStore", "SqlEndpointStore"]
