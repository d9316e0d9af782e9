from __future__ import annotations

from chassis.process import main
from partners.payment_provider.bootstrap import run

if __name__ == "__main__":
    main("payment_provider", run)
