from chassis.process import main
from services.reports.bootstrap import run

if __name__ == "__main__":
    main("reports", run)
