from chassis.process import main
from services.catalog.bootstrap import run

if __name__ == "__main__":
    main("catalog", run)
