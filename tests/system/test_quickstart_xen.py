"""docs/quickstart-xen.md, followed word for word: dom0 and its VM are made of namespaces, the xenstored is real."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.paths import PROJECT
from lab.xenstored import fakexen
from tests.support import sshvm
from tests.support.dom0 import Dom0
from tests.support.overlaydom0 import OverlayDom0
from tests.support.release import archive
from tests.support.walkthrough import walk

pytestmark = [
    pytest.mark.allow_skip,
    pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing()),
    pytest.mark.skipif(bool(sshvm.missing()), reason=sshvm.missing()),
    pytest.mark.timeout(300),
]


def test_a_newcomer_gets_from_the_archive_to_a_vm_that_listened(tmp_path: Path) -> None:
    with Dom0(tmp_path / "xen") as xen:
        domid = xen.start_vm("work")
        with sshvm.SshVM(tmp_path, Path(xen.daemon.socket(domid)).parent) as work:
            programs = Path(work.environment["PATH"].partition(":")[0])
            with OverlayDom0(tmp_path, {"XENSTORED_PATH": xen.path}, programs) as dom0:
                dom0.run(f"mv {archive(tmp_path)} .")
                run = walk(PROJECT / "docs/quickstart-xen.md", {"dom0": dom0.run, "work": work.run})
                the_command_runs_the_installed_library(dom0)
    assert run >= 8


def the_command_runs_the_installed_library(dom0: OverlayDom0) -> None:
    """Without a copy of it: Salt would keep another one, and search it at every salt-call."""
    dom0.run("salt-call --local state.apply vminterface.library --retcode-passthrough")
    assert dom0.run("readlink -f /usr/lib/vminterface/vminterface").strip() == "/usr/local/lib/vminterface/vminterface"
    assert dom0.run("find /var/cache/salt/minion/files -path '*library/*'") == ""
    assert dom0.run("vminterface get work timezone") == "work: timezone: Europe/Warsaw"
    dom0.run("salt-call --local state.apply vminterface.absent --retcode-passthrough")
    dom0.run("test ! -e /usr/lib/vminterface -a ! -e /usr/bin/vminterface -a -e /usr/local/lib/vminterface/vminterface")
