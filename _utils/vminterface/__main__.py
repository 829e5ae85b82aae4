"""``python -m vminterface``: the same as the command ``vminterface``."""

import signal
import sys

# Nothing is under way yet: while modules are loaded Ctrl-C ends the program without a traceback, as it ends others.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from vminterface.cli.main import main

sys.exit(main())
