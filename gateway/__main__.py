from chassis.process import main
from gateway.bootstrap import run

if __name__ == "__main__":
    main("gateway", run)
