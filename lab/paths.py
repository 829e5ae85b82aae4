"""Where a lab keeps its state: one folder, and short names in it, as a Unix socket's path has 107 bytes at most."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
#: The longest path below the folder that is bound: ``vms/NAME/root/run/qubes/qubesdb.ro.sock``, a name of 31 bytes.
_LONGEST = 68
_SUN_PATH = 107


@dataclass(frozen=True, slots=True)
class LabPaths:
    """The files of one lab."""

    folder: Path

    @classmethod
    def find(cls, folder: str | None = None) -> LabPaths:
        """Return those of *folder*, of ``$LAB_DIR``, or of ``.lab`` in the current folder.

        Where that path is too long for sockets, a folder of this user below ``/tmp`` stands for it.
        """
        path = Path(os.path.abspath(folder or os.environ.get("LAB_DIR") or ".lab"))
        if len(os.fsencode(path)) + _LONGEST > _SUN_PATH:
            path = Path("/tmp", f"lab-{os.getuid()}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}")
        return cls(path)

    @property
    def control(self) -> Path:
        """The supervisor's socket."""
        return self.folder / "control"

    @property
    def pids(self) -> Path:
        """The supervisor's and the store's process ids with their start times, for cleaning up after a crash."""
        return self.folder / "pids.json"

    @property
    def mark(self) -> Path:
        """Its presence says that the folder is a lab's own and may be removed."""
        return self.folder / "this-folder-is-a-lab"

    @property
    def log(self) -> Path:
        """What the supervisor has to say."""
        return self.folder / "supervisor.log"

    @property
    def store(self) -> Path:
        """The XenStore daemon's folder."""
        return self.folder / "s"

    @property
    def programs(self) -> Path:
        """The folder of programs that dom0 has in the lab only, for its PATH."""
        return self.folder / "bin"

    @property
    def qrexec(self) -> Path:
        """Where dom0's calls of services are taken."""
        return self.folder / "qrexec"

    @property
    def policy(self) -> Path:
        """Which VM may call which service."""
        return self.folder / "policy"

    @property
    def qubesdb(self) -> Path:
        """The folder of dom0's QubesDB sockets, where the release has these."""
        return self.folder / "qubes"

    @property
    def qubesd(self) -> Path:
        """The socket of qubesd, where the release has one."""
        return self.folder / "qubesd"

    @property
    def vchan(self) -> Path:
        """The folder of the sockets that stand for vchans."""
        return self.folder / "vchan"

    @property
    def locks(self) -> Path:
        """The folder in which dom0's programs lock VMs against each other."""
        return self.folder / "locks"

    @property
    def history(self) -> Path:
        """The folder in which dom0's pushes leave their history."""
        return self.folder / "history"

    def root(self, vm: str) -> Path:
        """The folder that is the file system of *vm*."""
        return self.folder / "vms" / vm / "root"

    def vm_log(self, vm: str) -> Path:
        """What the agent of *vm* has said."""
        return self.folder / "vms" / vm / "log"
