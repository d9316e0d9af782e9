"""`shop audit`: whether all records of every order agree.

Each order is *settled*, *in flight* (by a message, timer or payment that is named), *waiting for a person* (by a dead
letter that is named), *different* (a record is altered, doubled or foreign) or *lost* (nothing will move it; the last
step on record is named). What could not be read, or was deleted on purpose, is reported.

`reading` gets the records over their owners' protocols into a `spool`; `judgement`, `comparison`, `steps` and `stock`
decide, without I/O; `sales` does both for the sales report, which is of all orders; `report` counts and prints.
"""

from __future__ import annotations

from shop.audit.command import audit_running_shop
from shop.audit.reading import Settings
from shop.audit.report import Report, as_dict

__all__ = ["Report", "Settings", "as_dict", "audit_running_shop"]
