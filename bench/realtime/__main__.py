"""`python -m bench.realtime`."""

import sys

from bench.realtime.run import main

sys.exit(main())
