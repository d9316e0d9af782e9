from chassis.process import main
from services.inventory.bootstrap import run

if __name__ == "__main__":
    main("inventory", run)
