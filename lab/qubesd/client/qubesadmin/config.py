"""Where qubesd listens: the programs of a lab's dom0, and commands that tests start, have it from their environment."""

import os

QUBESD_SOCKET = os.environ.get("LAB_QUBESD_SOCKET", "/var/run/qubesd.sock")
