"""The qubesd of an R4 lab: VMs are its own, whoever starts, pauses and ends them, and their network is as it says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.control import Lab
from lab.linux.namespaces import Isolation
from lab.paths import PROJECT, LabPaths
from tests.support.labs import handler
from tests.support.qubesd import client
from tests.support.qubesdcalls import Error, Vm
from vminterface.channel.adminapi import AdminAPI
from vminterface.channel.qubesdb.store import QubesDB
from vminterface.deadline import Deadline
from vminterface.errors import InvalidValue

needs_network = pytest.mark.skipif(not Isolation.probe().network, reason="no VM has links on this machine")


class Socket:
    """What the calls as bare bytes need to know of a daemon."""

    def __init__(self, path: Path) -> None:
        self.path = path


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The VMs of the shipped pillar, which have a network."""
    lab = Lab(LabPaths.find(str(tmp_path_factory.mktemp("r4") / "l")))
    with pytest.MonkeyPatch.context() as patch:
        try:
            lab.up(release="R4")
            for name, value in lab.environment().items():
                patch.setenv(name, value)
            with client(lab.paths.qubesd):
                yield lab
        finally:
            lab.down()


def vm(lab: Lab, name: str) -> Vm:
    return Vm(Socket(lab.paths.qubesd), name)  # type: ignore[arg-type]


def states(lab: Lab) -> dict[str, str]:
    return {name: told["state"] for name, told in lab.ask("status")["vms"].items()}


def test_a_program_of_dom0_finds_the_client_by_what_up_says(lab: Lab) -> None:
    question = "from vminterface.channel.adminapi import AdminAPI; print(*sorted(AdminAPI.open().domains()))"
    found = {**os.environ, **lab.environment()}
    paths = os.pathsep.join([found["PYTHONPATH"], str(PROJECT / "_utils")])
    done = subprocess.run(
        [sys.executable, "-c", question], env={**found, "PYTHONPATH": paths}, capture_output=True, text=True,
        timeout=30, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["personal", "sys-net", "template", "work"]


def test_a_vm_has_all_keys_of_qubesd_when_it_starts(lab: Lab) -> None:
    with QubesDB.open("work") as store:
        held = store.tree("/")
    assert (held["/type"], held["/qubes-vm-persistence"]) == (b"AppVM", b"rw-only")
    assert held["/qubes-base-template"] == b"template"
    assert vm(lab, "work").get("visible_ip") == held.get("/qubes-ip", b"").decode()


def test_the_lab_and_the_admin_api_start_pause_and_end_the_same_vms(lab: Lab) -> None:
    personal = vm(lab, "personal")
    domid = lab.ask("status")["vms"]["personal"]["domid"]
    assert personal.get("xid") == str(domid)
    assert personal.call("Pause") == ""
    assert states(lab)["personal"] == "paused"
    lab.ask("unpause", "personal")
    assert str(personal.call("CurrentState")).endswith("power_state=Running")
    assert personal.call("Shutdown") == ""
    assert states(lab)["personal"] == "stopped"
    with pytest.raises(InvalidValue, match="personal is not running"):
        lab.ask("stop", "personal")
    assert personal.call("Start") == ""
    with pytest.raises(InvalidValue, match="personal is running already"):
        lab.ask("start", "personal")
    lab.wait_for_agents(Deadline.after(60))
    assert int(str(personal.get("xid"))) == lab.ask("status")["vms"]["personal"]["domid"] > domid


def test_the_template_cannot_be_started(lab: Lab) -> None:
    refused = vm(lab, "template").call("Start")
    assert isinstance(refused, Error)
    assert refused.sentence == "Qube start is prohibited. Rationale: a lab has no machine for a template"
    with pytest.raises(InvalidValue, match="there is no VM 'template' in this lab"):
        lab.ask("start", "template")


@needs_network
def test_links_follow_the_netvm_at_once_or_when_the_vm_goes_on(lab: Lab) -> None:
    handler(lab, "work", "qubes.WaitForNetworkUplink", "echo waited >/tmp/uplink")
    work = vm(lab, "work")

    def linked() -> bool:
        return lab.run("work", "ip", "link", "show", "eth0").returncode == 0

    assert linked()
    assert work.set("netvm", "") == ""
    assert not linked()
    assert work.set("mac", "00:16:3e:5e:6c:77") == "00:16:3e:5e:6c:77"
    assert work.set("netvm", "sys-net") == "sys-net"
    assert "00:16:3e:5e:6c:77" in lab.run("work", "ip", "link", "show", "eth0").stdout
    work.call("Pause")
    assert work.set("netvm", "") == ""
    assert lab.ask("status")["vms"]["work"]["netvm"] == "sys-net"
    assert work.call("Unpause") == ""
    assert not linked()
    assert (lab.paths.root("work") / "tmp/uplink").read_text() == "waited\n"
    work.call("property.Reset", "mac")
    AdminAPI.open().set_property("work", "netvm", None)
    assert linked()
