"""What dom0 and the VMs of the emulated host get for service calls: the lab's programs, and in VMs the handlers."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.paths import PROJECT
from lab.xen.cpio import Cpio
from vminterface.vm.handlers.runtime import install as installer
from vminterface.vm.machine.machine import Machine

#: Where the lab's package is in there, and of what it is made.
FOLDER = "usr/lib/vminterface-lab"
_FILES = ("__init__.py", "paths.py", "guest/__init__.py", "guest/session.py", "guest/vmroot.py", "xen/__init__.py")
_FOLDERS = ("qrexec", "xen/inside")
SOURCES = (Path(__file__), *(PROJECT / "lab" / name for name in (*_FILES, *_FOLDERS)))


def stage(folder: Path) -> None:
    """Copy the lab's package as far as it is needed in there to below *folder*."""
    for name in _FILES:
        target = folder / "lab" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / "lab" / name, target)
    for name in _FOLDERS:
        skipped = shutil.ignore_patterns("__pycache__", "init-*")
        shutil.copytree(PROJECT / "lab" / name, folder / "lab" / name, ignore=skipped)


def handlers(archive: Cpio, folder: Path, python: str, library: str) -> None:
    """Add what the formula's ``vminterface.handlers`` puts into a VM; *folder* is for this alone."""
    folder.mkdir()
    installer.install(Machine(str(folder)), python=python, library=library)
    archive.tree("etc", folder / "etc")
