"""The demo accounts. Their passwords are public, so a production configuration refuses to start with them."""

from __future__ import annotations

from datetime import UTC, datetime

from services.users.domain import Role, User
from services.users.ports import UserStore

_REGISTERED = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)

# argon2id of "demo" and of "admin", by the parameters of passwords.py: hashing them anew would cost each first start.
_DEMO = "$argon2id$v=19$m=19456,t=2,p=1$JBKdm7fohERKMeMcco2O+Q$uUE8LsJL01ziW5r52MBY7A9fQ6DI/hmo44FMdabLE40"
_ADMIN = "$argon2id$v=19$m=19456,t=2,p=1$SZ2HxUefXczEK/fEFtzAeQ$KChbytVw3+E2IC+lVBazXcSbYMfoC3Kn5FkFq0H+4Lg"

DEMO_USERS = (
    User("123", "Demo Customer", "demo@shop.test", Role.CUSTOMER, _DEMO, _REGISTERED),
    User("1", "Shop Admin", "admin@shop.test", Role.ADMIN, _ADMIN, _REGISTERED),
    User("456", "Second Customer", "customer2@shop.test", Role.CUSTOMER, _DEMO, _REGISTERED),
    User("789", "Third Customer", "customer3@shop.test", Role.CUSTOMER, _DEMO, _REGISTERED),
    User("1000", "Sales Channel Customer", "channel@shop.test", Role.CUSTOMER, _DEMO, _REGISTERED),
)


async def prepare_accounts(store: UserStore, *, production: bool, demo: bool) -> None:
    """Load the demo accounts if `demo`. Raises `RuntimeError` where a production has them, whatever their source."""
    present = {user.id for user in await store.by_ids([user.id for user in DEMO_USERS])}
    if production and present:
        message = f"SHOP_ENV=production, but the database holds demo accounts: {', '.join(sorted(present))}"
        raise RuntimeError(message)
    if demo and len(present) < len(DEMO_USERS):
        await store.add_missing(DEMO_USERS)
