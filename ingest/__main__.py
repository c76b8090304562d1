"""`python -m slvr.ingest`: the same as the console script."""

import sys

from slvr.ingest.cli import main

sys.exit(main())
