from chassis.process import main
from services.users.bootstrap import run

if __name__ == "__main__":
    main("users", run)
