"""Where qubesd listens; a command that a test starts has it from its environment."""

import os

QUBESD_SOCKET = os.environ.get("TEST_QUBESD_SOCKET", "/var/run/qubesd.sock")
