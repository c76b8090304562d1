"""`python -m slvr`: the same as the console script."""

import sys

from slvr.command.cli import main

sys.exit(main())
