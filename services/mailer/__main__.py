from chassis.process import main
from services.mailer.bootstrap import run

if __name__ == "__main__":
    main("mailer", run)
