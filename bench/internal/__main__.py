"""`python -m bench.internal`."""

import sys

from bench.internal.run import main

sys.exit(main())
