"""``vminterface.handlers`` by the real salt-ssh, into a VM: services are answered, its own handlers left or kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import sshvm
from tests.support.formula import applier
from vminterface.vm.handlers.runtime.table import SERVICES

pytestmark = [
    pytest.mark.allow_skip,
    pytest.mark.skipif(bool(sshvm.missing()), reason=sshvm.missing()),
    pytest.mark.timeout(600),
]
PROGRAMS = "/etc/qubes-rpc"
HANDLERS = "vminterface-handlers-cmd"
REPLACE = {"handlers": {"replace": True}}


@pytest.fixture
def vm(tmp_path: Any) -> Iterator[Any]:
    (tmp_path / "no-xenstore").mkdir()
    with sshvm.SshVM(tmp_path, tmp_path / "no-xenstore") as made:
        yield made


@pytest.fixture
def apply(tmp_path: Any, vm: Any) -> Any:
    return applier(tmp_path, vm, "vminterface.handlers")


def services(line: Any) -> Any:
    """Return what the line of the report says of services."""
    return {name: what for name, what in line["changes"].items() if name.startswith("qubes.")}


def nothing_to_do(report: Any) -> Any:
    return [line for line in report.values() if line["changes"] or line["result"] is not True] == []


def as_user(command: Any) -> Any:
    return f"su nobody -s /bin/sh -c '{command}'"


def test_services_are_answered_and_the_vms_own_handlers_left_alone_until_they_are_to_be_replaced(
    vm: Any, apply: Any
) -> None:
    vm.run(f"mkdir -p {PROGRAMS} && printf '#!/bin/sh\\necho stock\\n' > {PROGRAMS}/qubes.GetDate")
    vm.run(f"chmod 755 {PROGRAMS}/qubes.GetDate")

    would = apply("test=True")
    assert {line["result"] for line in would.values()} == {None}, json.dumps(would, indent=1)
    assert vm.run(f"ls {PROGRAMS}") == "qubes.GetDate\n"

    first = apply()
    assert set(first) == {
        "vminterface-library-file",
        "vminterface-library-compiled-cmd",
        "vminterface-command-file",
        HANDLERS,
    }
    assert all(line["changes"] for line in first.values())
    assert services(first[HANDLERS]) == dict.fromkeys(SERVICES.keys() - {"qubes.GetDate"}, "installed")
    assert first[HANDLERS]["comment"] == f"service handlers: {len(SERVICES) - 1} installed, 1 left as the VM has them"
    assert set(vm.run(f"ls {PROGRAMS}").split()) == set(SERVICES)
    assert vm.run("cat /etc/qubes/rpc-config/qubes.SetDateTime") == "force-user = 'root'\n"
    assert vm.run(f"{PROGRAMS}/qubes.GetDate") == "stock\n"

    # The handlers work for a user, and find everything compiled.
    call = f"echo echo hello | QREXEC_REMOTE_DOMAIN=dom0 {PROGRAMS}/qubes.VMShell"
    assert vm.run(as_user(call)) == "hello\n"
    uncompiled = vm.run(
        "cd /usr/lib/vminterface && for f in $(find . -name '*.py'); do"
        " ls $(dirname $f)/__pycache__/$(basename $f .py).*.pyc >/dev/null 2>&1 || echo $f; done"
    )
    assert uncompiled == ""

    assert nothing_to_do(apply("test=True"))
    assert nothing_to_do(apply())

    # One that has changed is put right; what is shipped no longer goes, and so does nothing else.
    vm.run(f"cp {PROGRAMS}/qubes.VMShell {PROGRAMS}/qubes.Gone; echo >> {PROGRAMS}/qubes.VMShell")
    vm.run(f"touch {PROGRAMS}/qubes.Other")
    changed = {"qubes.Gone": "removed", "qubes.VMShell": "updated"}
    would = apply("test=True")
    assert (services(would[HANDLERS]), would[HANDLERS]["result"]) == (changed, None)
    assert services(apply()[HANDLERS]) == changed
    assert set(vm.run(f"ls {PROGRAMS}").split()) == {*SERVICES, "qubes.Other"}

    would = apply("test=True", own=REPLACE)
    assert (services(would[HANDLERS]), would[HANDLERS]["result"]) == ({"qubes.GetDate": "replaced"}, None)
    assert vm.run(f"{PROGRAMS}/qubes.GetDate") == "stock\n"
    assert services(apply(own=REPLACE)[HANDLERS]) == {"qubes.GetDate": "replaced"}
    assert vm.run(as_user(f"QREXEC_REMOTE_DOMAIN=dom0 {PROGRAMS}/qubes.GetDate")).startswith("20")
    assert nothing_to_do(apply(own=REPLACE))

    assert services(apply()[HANDLERS]) == {"qubes.GetDate": "restored"}
    assert vm.run(f"{PROGRAMS}/qubes.GetDate") == "stock\n"
    assert nothing_to_do(apply())
    assert vm.run("vminterface handlers remove").startswith(f"service handlers: {len(SERVICES) - 1} removed\n")
    assert set(vm.run(f"ls {PROGRAMS}").split()) == {"qubes.GetDate", "qubes.Other"}
