from chassis.process import main
from services.notifier.bootstrap import run

if __name__ == "__main__":
    main("notifier", run)
