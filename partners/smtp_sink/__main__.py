from chassis.process import main
from partners.smtp_sink.bootstrap import run

if __name__ == "__main__":
    main("smtp_sink", run)
