"""The tags of VMs: ``admin.vm.tag.*``, and those that qubesd itself keeps."""

from __future__ import annotations

import re

from lab.qubesd.errors import Refused, Unanswered
from lab.qubesd.system import System


def list_tags(system: System, vm: str) -> str:
    """Return the tags, one a line."""
    return "".join(f"{tag}\n" for tag in sorted(system.qubes[vm].tags))


def has_tag(system: System, vm: str, tag: str) -> str:
    """Return ``1`` or ``0``. Raises Unanswered."""
    _check(tag)
    return "1" if tag in system.qubes[vm].tags else "0"


def add_tag(system: System, vm: str, tag: str) -> None:
    """Give a VM a tag, unless it has it. Raises Unanswered."""
    _check(tag)
    if tag not in system.qubes[vm].tags:
        system.qubes[vm].tags.add(tag)
        system.events.fire(vm, f"domain-tag-add:{tag}", tag=tag)


def remove_tag(system: System, vm: str, tag: str) -> None:
    """Take a tag from a VM. Raises Refused, Unanswered."""
    _check(tag)
    if tag not in system.qubes[vm].tags:
        raise Refused("QubesTagNotFoundError", "Tag not set for domain %s: %s", vm, tag)
    system.qubes[vm].tags.remove(tag)
    system.events.fire(vm, f"domain-tag-delete:{tag}", tag=tag)


def only_of(system: System, vm: str, prefix: str, name: str) -> None:
    """Let *vm* have the one tag of *prefix* that *name* makes, none where that is empty."""
    for tag in sorted(system.qubes[vm].tags):
        if tag.startswith(prefix):
            remove_tag(system, vm, tag)
    if name:
        add_tag(system, vm, prefix + name)


def _check(tag: str) -> None:
    if not re.fullmatch("[A-Za-z0-9_-]*", tag):
        raise Unanswered(f"{tag}: disallowed characters")
