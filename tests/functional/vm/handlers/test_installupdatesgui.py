"""InstallUpdatesGUI: which command updates this VM, as whom, and what comes after it, in a stand-in terminal."""

from __future__ import annotations

import os

import pytest

from tests.support.agentcall import call
from tests.support.handlers import VM, Reply
from vminterface.vm.handlers.installupdatesgui import MANAGERS

SERVICE = "qubes.InstallUpdatesGUI"
TOOLS = ("cat", "sh")


@pytest.fixture
def vm(vm: VM) -> VM:
    vm.write("etc/vminterface/terminal-command", "terminal\n")
    # As su does: the last word is the script.
    program(vm, "su", 'echo "su $1 $2 $3 $4" >>"$NOTES"; for script; do :; done; exec sh -c "$script"')
    program(vm, "terminal", 'echo | "$@" >>"$NOTES"')
    program(vm, "systemctl", 'echo "systemctl $*" >>"$NOTES"')
    program(vm, "poweroff", 'echo poweroff >>"$NOTES"')
    for tool in TOOLS:
        program(vm, tool, f'exec /bin/{tool} "$@"')
    return vm


def program(vm: VM, name: str, script: str) -> None:
    vm.write(f"bin/{name}", f"#!/bin/sh\nNOTES={vm.root}/notes\n{script}\n", 0o755)


def answered(vm: VM) -> Reply:
    return call(vm, SERVICE, PATH=f"{vm.root}/bin")


def notes(vm: VM) -> list[str]:
    reply = answered(vm)
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    lines = [line for line in vm.read("notes").splitlines() if line]
    (vm.root / "notes").unlink()
    return lines


#: How root is become; the tests may be root themselves.
SU = [] if os.geteuid() == 0 else ["su -s /bin/sh -l -c"]
CHECKED = [
    "systemctl --quiet is-enabled qubes-update-check.timer",
    "systemctl start qubes-update-check.service",
]


@pytest.mark.parametrize("name", MANAGERS)
def test_the_package_manager_that_is_there_updates_and_dom0_hears_of_it(vm: VM, name: str) -> None:
    program(vm, name, f'echo "{name} $*" >>"$NOTES"')
    commands = MANAGERS[name].split(" && ")
    assert notes(vm) == [*SU, *commands, *CHECKED, "Done. Press Enter to close the window. "]


def test_a_template_may_be_shut_down_after_it(vm: VM) -> None:
    program(vm, "dnf", "")
    vm.write("run/qubes/this-is-templatevm")
    asked = "Done. Press Enter to shut this template down, or Ctrl-C to close the window. "
    assert notes(vm) == [*SU, *CHECKED, f"{asked}poweroff"] or notes(vm) == [*SU, *CHECKED, "poweroff", asked]


def test_a_vm_without_the_check_is_only_updated(vm: VM) -> None:
    program(vm, "dnf", "exit 1")
    program(vm, "systemctl", 'echo "systemctl $*" >>"$NOTES"; exit 1')
    assert notes(vm) == [*SU, CHECKED[0], "Done. Press Enter to close the window. "]


def test_the_admins_command_goes_first(vm: VM) -> None:
    program(vm, "dnf", "echo not this >>$NOTES")
    vm.write("etc/vminterface/update-command", "# ours\necho 'our own' && echo two\n")
    assert notes(vm)[len(SU) : len(SU) + 2] == ["our own", "two"]
    for text in ("", "# none\n", "a\nb\n"):
        vm.write("etc/vminterface/update-command", text)
        assert "/etc/vminterface/update-command: " in answered(vm).refused(SERVICE)


def test_without_a_package_manager_or_terminal_that_is_said(vm: VM) -> None:
    assert "expected one of dnf, yum, apt-get, pacman, zypper" in answered(vm).refused(SERVICE)
    program(vm, "dnf", "")
    (vm.root / "etc/vminterface/terminal-command").unlink()
    assert "no terminal emulator is installed" in answered(vm).refused(SERVICE)
