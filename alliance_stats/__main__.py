"""``python -m alliance_stats``: the command line without its script."""

import sys

from alliance_stats.cli import main

sys.exit(main())
