"""`python -m bench.scale`."""

import sys

from bench.scale.run import run

run(sys.argv[1:])
