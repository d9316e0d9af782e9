from chassis.process import main
from graphql_server.bootstrap import run

if __name__ == "__main__":
    main("graphql_server", run)
