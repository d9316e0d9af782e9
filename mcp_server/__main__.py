from chassis.process import main
from mcp_server.bootstrap import run

if __name__ == "__main__":
    main("mcp_server", run)
