"""The watcher at the start of a VM of Qubes R4: first the domain, then its QubesDB, then the VM's agent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.xenstored import fakexen
from tests.functional.dom0.push.watch.test_watcher import Log, has, soon, watching
from tests.support.dom0 import Dom0
from tests.support.qubesdb import QubesHost
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.watch import boot

pytestmark = pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing())


class Host:
    """Dom0 of R4 with one VM that runs."""

    def __init__(self, xen: Dom0, qubes: QubesHost) -> None:
        self.xen, self.qubes = xen, qubes
        xen.start_vm("other")
        qubes.start_vm("other")

    def targets(self) -> Targets:
        return Targets(self.xen.store, qubesdb_folder=str(self.qubes.folder))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with Dom0(tmp_path / "x") as xen, QubesHost(tmp_path / "q") as qubes:
        yield Host(xen, qubes)


def booted(host: Host, log: Log) -> None:
    """Let ``work`` start as far as its QubesDB, and wait for the push."""
    host.xen.start_vm("work")
    host.xen.start_vm("later")
    host.qubes.start_vm("later")  # seen after the domain of ``work``
    soon(lambda: watchers_saw(log))
    host.qubes.start_vm("work")
    soon(has(host.qubes, "work", "Europe/Warsaw"))


def watchers_saw(log: Log) -> bool:
    return log.has("later: ")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "pillar.json"
    file.write_text('{"qubes": {"vms": {"work": {"timezone": "Europe/Warsaw"}, "later": {"timezone": "UTC"}}}}')
    return file


def test_it_writes_into_no_xenstore_and_reports_what_the_agent_refuses(host: Host, file: Path) -> None:
    with watching(host.targets, file) as log:
        booted(host, log)
        soon(lambda: log.has("work: timezone set", boot.AWAITED))
        host.qubes.agent("work", lambda setting, inputs: "there is no such zone here")
        soon(lambda: log.has("work refused timezone: there is no such zone here"))
        assert host.xen.read("work", "qubes-timezone") is None
        assert not log.has("next start", "work: timezone set")


def test_it_says_once_when_a_vm_gets_no_qubesdb_in_time_and_waits_on(host: Host, file: Path) -> None:
    vms = {"work": {"timezone": "Europe/Warsaw", "timeout": 1}, "later": {"timezone": "UTC"}}
    file.write_text(json.dumps({"qubes": {"vms": vms}}))
    line = "work is starting: it does not have a QubesDB after 1 s; its settings are pushed once it has one"
    with watching(host.targets, file) as log:
        host.xen.start_vm("work")
        host.xen.start_vm("unknown")
        soon(lambda: log.has(line))
        host.xen.start_vm("later")
        host.qubes.start_vm("later")  # more looks at what runs
        soon(lambda: watchers_saw(log))
        assert log.count(line) == 1
        host.qubes.start_vm("work")
        soon(lambda: log.has("work: timezone set"))
        assert not log.has("unknown")
        host.xen.stop_vm("work")
        host.qubes.stop_vm("work")
        (host.qubes.folder / "qubesdb.work.sock").unlink()
        host.xen.start_vm("work")
        soon(lambda: log.count(line) == 2)


def test_it_says_when_the_agent_has_acknowledged(host: Host, file: Path) -> None:
    with watching(host.targets, file) as log:
        booted(host, log)
        host.qubes.agent("work")
        soon(lambda: log.has("work: its agent has acknowledged its settings"))


def test_it_says_when_there_is_no_agent(host: Host, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "BOOT", 0.5)
    with watching(host.targets, file) as log:
        booted(host, log)
        soon(lambda: log.has("work: no agent announced itself within 0.5 s"))
