from chassis.process import main
from services.erp_adapter.bootstrap import run

if __name__ == "__main__":
    main("erp_adapter", run)
