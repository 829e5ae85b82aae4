"""What a GuiVM and an AudioVM are to the VMs that they serve: keys, tags, and the checks before one of them ends."""

from __future__ import annotations

from collections.abc import Iterator

from lab.qubesd.errors import Refused
from lab.qubesd.system import System
from lab.qubesd.tags import only_of

ROLES = ("guivm", "audiovm")


def fill(system: System, vm: str) -> None:
    """Write what a VM that starts is to know of its GuiVM and AudioVM. Raises Unanswered."""
    features = system.qubes[vm].features
    for feature in ("gui-videoram-overhead", "gui-videoram-min"):
        if (text := system.inherited(vm, feature, "template", "adminvm")) is not None:
            system.write(vm, f"qubes-{feature}", text)
    guivm = system.reference(vm, "guivm")
    system.write(vm, "qubes-gui-enabled", str(bool(guivm and features.get("gui", "1"))))
    if guivm and guivm != vm:
        system.write(vm, "keyboard-layout", system.value(vm, "keyboard_layout") or "")
        if system.qubes[guivm].running:
            system.write(vm, "qubes-gui-domain-xid", str(system.qubes[guivm].xid))
    if features.get("service.guivm"):
        system.write(vm, "guivm-windows-prefix", features.get("guivm-windows-prefix", "GuiVM"))
    _write_audiovm(system, vm)


def tags_of(system: System, vm: str) -> set[str]:
    """Return the tags that a VM has by its GuiVM and AudioVM."""
    return {f"{role}-{system.reference(vm, role)}" for role in ROLES if system.reference(vm, role)}


def is_set(system: System, vm: str, role: str) -> None:
    """The GuiVM or AudioVM of a VM is another one: its tag says so, for an AudioVM a key too. Raises Unanswered."""
    only_of(system, vm, f"{role}-", system.reference(vm, role))
    if role == "audiovm" and system.qubes[vm].running:
        _write_audiovm(system, vm)


def layout_changed(system: System, vm: str, old: str | None) -> None:
    """The keyboard layout of *vm* is another one: those whose GuiVM it is have it as their default."""
    for name in _served(system, vm, "guivm"):
        if name != vm and "keyboard_layout" not in system.qubes[name].properties:
            if system.qubes[name].running:
                system.write(name, "keyboard-layout", system.value(name, "keyboard_layout") or "")
            system.events.fire(name, "property-reset:keyboard_layout", name="keyboard_layout", oldvalue=old)


def started(system: System, vm: str) -> None:
    """Let the running VMs that *vm* serves know its domain. Raises Unanswered."""
    xid = str(system.qubes[vm].xid)
    for name in _running(system, vm, "guivm"):
        system.write(name, "qubes-gui-enabled", str(bool(system.qubes[name].features.get("gui", "1"))))
        system.write(name, "qubes-gui-domain-xid", xid)
    for name in _running(system, vm, "audiovm"):
        if name != vm:
            system.write(name, "qubes-audio-domain-xid", xid)


def check_unused(system: System, vm: str, force: bool) -> None:
    """Raise Refused where *vm* is to end and running VMs have it as their GuiVM or AudioVM."""
    if force:
        return
    for role, word, kind in (("guivm", "GuiVM", "QubesVMError"), ("audiovm", "AudioVM", "QubesVMInUseError")):
        names = ", ".join(name for name in _running(system, vm, role) if name != vm or role == "guivm")
        if names:
            raise Refused(kind, "There are running VMs using this VM as %s: %s", word, names)


def _write_audiovm(system: System, vm: str) -> None:
    audiovm = system.reference(vm, "audiovm")
    if not audiovm:
        system.remove(vm, "qubes-audio-domain-xid")
    elif audiovm != vm and system.qubes[audiovm].running:
        system.write(vm, "qubes-audio-domain-xid", str(system.qubes[audiovm].xid))


def _running(system: System, vm: str, role: str) -> Iterator[str]:
    return (name for name in _served(system, vm, role) if system.qubes[name].running)


def _served(system: System, vm: str, role: str) -> Iterator[str]:
    return (name for name in system.names() if system.reference(name, role) == vm)
