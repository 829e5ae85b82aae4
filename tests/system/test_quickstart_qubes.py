"""docs/quickstart-qubes.md, followed word for word: a dom0 of Qubes R4 with the lab's qubesd and QubesDB, real Salt.

``qubesctl`` and ``qvm-run`` are those of tests/support/qubescommands.py; ``qvm-start`` and ``qvm-shutdown`` are done by
the test. The template is a VM made of namespaces, which the agent's state is really applied to.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from lab.paths import PROJECT
from lab.xenstored import fakexen
from tests.support import qubescommands, sshvm
from tests.support.dom0 import Dom0
from tests.support.overlaydom0 import OverlayDom0
from tests.support.qubesminion import QubesMinion
from tests.support.qubesr4 import whole_r4
from tests.support.release import archive
from tests.support.walkthrough import walk

pytestmark = [
    pytest.mark.allow_skip,
    pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing()),
    pytest.mark.skipif(bool(sshvm.missing()), reason=sshvm.missing()),
    pytest.mark.timeout(600),
]
RESTART = "qvm-shutdown --wait debian-13 work\nqvm-start work\n"


def test_a_newcomer_gets_from_the_archive_to_a_vm_that_listened(tmp_path: Path) -> None:
    (tmp_path / "homes/dev").mkdir(parents=True)
    made = archive(tmp_path / "homes/dev")
    with whole_r4(tmp_path) as r4, Dom0(tmp_path / "xen") as xen:
        domid = xen.start_vm("debian-13")
        r4.start("work")
        environment = {
            "XENSTORED_PATH": str(tmp_path / "none"),
            "VMINTERFACE_QUBESDB_DIR": str(r4.host.folder),
            "LAB_QUBESD_SOCKET": str(r4.qubesd.path),
            "PYTHONPATH": str(PROJECT / "lab/qubesd/client"),
        }
        with sshvm.SshVM(tmp_path, Path(xen.daemon.socket(domid)).parent) as template:
            programs = Path(template.environment["PATH"].partition(":")[0])
            qubescommands.write(programs, tmp_path / "homes")
            with OverlayDom0(tmp_path, environment, programs) as dom0:
                dom0.run(
                    "echo 'Qubes release 4.3 (R4.3)' >/etc/qubes-release; rm -f /usr/share/qubes/marker-vm\n"
                    "mkdir -p /etc/salt/minion.d /srv/salt /srv/pillar"
                )
                for place, text in QubesMinion.stock_files().items():
                    dom0.run(f"cat >{place} <<'END OF FILE'\n{text}\nEND OF FILE\n")

                def run(commands: str) -> str:
                    if commands != RESTART:
                        return dom0.run(commands)
                    r4.start("work")
                    r4.host.agent("work")
                    return ""

                checksum = hashlib.sha256(made.read_bytes()).hexdigest()
                assert walk(PROJECT / "docs/quickstart-qubes.md", {"dom0": run}, {"CHECKSUM": checksum}) >= 9
                assert "vminterface 0" in template.run("vminterface --version")
