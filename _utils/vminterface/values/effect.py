"""When a feature or property of a VM that was changed in qubesd takes effect."""

from __future__ import annotations

import enum


class Effect(enum.Enum):
    """The moment of it."""

    NOW = "now"
    #: Of the VM, and with it of what dom0 starts for it.
    START = "next start"
