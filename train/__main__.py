"""`python -m slvr.train`: the same as the console script."""

import sys

from slvr.train.cli import main

sys.exit(main())
