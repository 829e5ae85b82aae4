"""A running VM whose services are called from dom0, and what tests put into it and see of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.rpcstandin import StandIn
from vminterface.channel.qrexec.client import Qrexec


@dataclass
class World:
    """The running VM called work, with *root* for its file system, and what reaches it from dom0's folder *here*."""

    vms: StandIn
    root: Path
    qrexec: Qrexec
    here: Path
    monkeypatch: pytest.MonkeyPatch

    def write(self, path: str, content: str | bytes = "", mode: int = 0o644) -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        place.chmod(mode)
        return place

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def hook(self, path: str) -> None:
        """Put an admin's program there, which logs that it was run."""
        self.write(path, f'#!/bin/sh\necho "${{0##*/}} $*" >>{self.root}/log\n', 0o755)

    def program(self, name: str, script: str = "") -> None:
        """Put a program there, which logs what it was asked for and then runs *script*."""
        self.vms.program("work", name, f'echo "{name} $*" >>{self.root}/log\n{script}\n')

    def logged(self) -> list[str]:
        """Return what was logged since the last time."""
        lines = self.read("log").splitlines()
        (self.root / "log").unlink()
        return lines
