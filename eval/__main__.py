"""`python -m slvr.eval`: the same as the console script."""

import sys

from slvr.eval.cli import main

sys.exit(main())
