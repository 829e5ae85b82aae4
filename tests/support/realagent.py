"""The real agent of a VM as a process of its own; the VM is a folder of files and the guest's end of a store."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.dom0 import Dom0
from tests.support.qubesdb import QubesHost
from tests.support.warm import WarmPython
from vminterface.vm.agent import agent as agent_module

LIBRARY = Path(agent_module.__file__).parents[3]


class RealAgent:
    """The agent of the running VM called *name* of *host*, with its machine below *root*."""

    def __init__(self, host: Dom0 | QubesHost, name: str, root: Path, library: Path = LIBRARY) -> None:
        self.root = root
        (root / "etc").mkdir(parents=True)
        (root / "etc/debian_version").write_text("12.0\n")
        (root / "run/qubes").mkdir(parents=True)
        xenstore = str(root / "no-xenstore")
        if isinstance(host, Dom0):
            xenstore = host.daemon.socket(host.domids[name])
        else:
            (root / "run/qubes/qubesdb.sock").symlink_to(host.folder / name / "qubesdb.sock")
        # A network namespace of its own: what the agent does to interfaces stays in it.
        self.process = WarmPython(
            ["vminterface", "agent", "--root", str(root)],
            isolated=True,
            env={**os.environ, "PYTHONPATH": str(library), "XENSTORED_PATH": xenstore},
            stderr=(root.parent / f"{root.name}.log").open("wb"),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()

    def accepts(self, text: str | None, path: str = "/etc/vminterface/agent.conf") -> None:
        """Let the VM's owner have the file *path* say *text*; None: remove it."""
        place = self.root / path.lstrip("/")
        if text is None:
            place.unlink()
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        # At once, as the agent may look at any time.
        new = place.with_name("new")
        new.write_text(text)
        new.rename(place)

    def zone(self, name: str) -> None:
        """Let the machine know of a time zone."""
        path = self.root / "usr/share/zoneinfo" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"TZif2" + bytes(40))

    @property
    def timezone(self) -> str:
        """The time zone that the machine has."""
        return os.readlink(self.root / "etc/localtime").partition("zoneinfo/")[2]
