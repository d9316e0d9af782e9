from chassis.process import main
from services.storage.bootstrap import run

if __name__ == "__main__":
    main("storage", run)
