"""What a VM may be called in qubesd."""

from __future__ import annotations

import re

from lab.qubesd.errors import invalid


def check_name(name: str) -> None:
    """Raise Refused for what is no VM's name."""
    if len(name) > 31:
        raise invalid("VM name must be shorter than 32 characters")
    if re.match("[0-9_.-]", name):
        raise invalid("VM name cannot start with hyphen, underscore, dot or numbers")
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_.-]*", name):
        raise invalid("VM name contains illegal characters")
    if name in ("none", "default"):
        raise invalid("VM name cannot be 'none' nor 'default'")
    if name == "Domain-0" or name.endswith("-dm"):
        raise invalid("VM name cannot be 'Domain-0'" if name == "Domain-0" else "VM name cannot end with -dm")
