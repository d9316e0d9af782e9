"""`python -m services.orders` answers; `python -m services.orders worker` consumes the queues."""

import sys

from chassis.process import main
from services.orders.bootstrap import run, run_worker

if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        main("order_worker", run_worker)
    else:
        main("orders", run)
