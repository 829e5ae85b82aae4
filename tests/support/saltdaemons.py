"""What tests with a real Salt master and its minions have in common."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any


def factories(root: Path) -> dict[str, Any]:
    """Return the configuration of pytest-salt-factories that keeps all daemons below *root*.

    They are killed in the end: a minion of Salt 3007 does not tell a job that its return has arrived, as it never
    awaits what sends this event (``SaltEvent.fire_event_async``), so each job's process waits half a minute for it.
    """
    return {"root_dir": str(root), "slow_stop": False}


def drop_log_handlers() -> None:
    """Take away the handlers that Salt leaves on the root logger: they write to a stream that pytest has closed."""
    for handler in list(logging.root.handlers):
        if type(handler).__module__.startswith("salt."):
            logging.root.removeHandler(handler)
