"""``python -m vminterface``: the same as the command ``vminterface``."""

import sys

from vminterface.cli import main

sys.exit(main())
