"""`python -m bench.graphql`."""

import sys

from bench.graphql.run import main

sys.exit(main())
