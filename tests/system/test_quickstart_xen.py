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
    assert run >= 8
