import sys

from chassis.process import main
from webhooks.bootstrap import run, run_worker

if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        main("webhook_worker", run_worker)
    else:
        main("webhooks", run)
