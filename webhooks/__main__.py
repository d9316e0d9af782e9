"""`python -m webhooks` receives webhooks; `python -m webhooks worker` does the rest."""

import sys

from chassis.process import main

if __name__ == "__main__":
    # Imported here: neither process needs the other's modules.
    if sys.argv[1:] == ["worker"]:
        from webhooks.worker import run_worker

        main("webhook_worker", run_worker)
    else:
        from webhooks.bootstrap import run

        main("webhooks", run)
