from chassis.process import main
from console.bootstrap import run

if __name__ == "__main__":
    main("console", run)
