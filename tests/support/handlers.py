"""Qubes RPC handlers run as the qrexec agent runs them: their own program, a caller's environment, three streams."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import vminterface
from tests.support.warm import MEASURED, WarmPython
from vminterface.vm.handlers.runtime.entry import entry

LIBRARY = str(Path(vminterface.__file__).parents[1])
#: Not the virtual environment's: VMs have none. What measures the tests names one that measures handlers too.
PYTHON = os.environ.get(MEASURED) or os.path.realpath(sys.executable)


@dataclass
class Reply:
    status: int
    stdout: bytes
    stderr: str

    def refused(self, service: str) -> str:
        """Check that it is a refusal in one printable line, and return its reason."""
        assert self.status not in (0, None)
        assert self.stdout == b""
        assert self.stderr.endswith("\n")
        (line,) = self.stderr.splitlines()
        assert line.isascii()
        assert line.isprintable()
        assert line.startswith(f"{service}: ")
        return line.removeprefix(f"{service}: ")


class VM:
    """A folder that is a VM's file system."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "etc").mkdir(parents=True, exist_ok=True)

    def write(self, path: str, content: str | bytes = "", mode: int = 0o644) -> Path:
        place = self.root / path.lstrip("/")
        if not place.parent.is_dir():
            place.parent.mkdir(parents=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        place.chmod(mode)
        return place

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()

    def start(
        self, service: str, *arguments: str, source: str | None = "dom0", **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start the handler of *service* with pipes for its streams; no *source*: not by the agent."""
        programs = self.root.parent / "programs"
        programs.mkdir(exist_ok=True)
        program = programs / service
        if not program.exists():
            program.write_text(entry(service, LIBRARY, PYTHON, str(self.root)))
            program.chmod(0o755)
        given = {"PATH": os.environ["PATH"], "HOME": "/home/user", **environment}
        if source is not None:
            given = {"QREXEC_REMOTE_DOMAIN": source, **given}
        pipe = subprocess.PIPE
        words = [str(program), *arguments]
        return WarmPython(words, handler=True, stdin=pipe, stdout=pipe, stderr=pipe, env=given)

    def call(
        self, service: str, data: bytes = b"", *arguments: str, source: str | None = "dom0", **environment: str
    ) -> Reply:
        """Send *data* to *service* and close that stream; return how it ended."""
        process = self.start(service, *arguments, source=source, **environment)
        with process:
            try:
                stdout, stderr = process.communicate(data, 30)
            finally:
                process.kill()
        return Reply(process.returncode, stdout, stderr.decode())

    def content(self) -> dict[str, tuple[int, object]]:
        """Return all that is in the folder: mode, and bytes or target, by path."""
        found: dict[str, tuple[int, object]] = {}
        for path in sorted(self.root.rglob("*")):
            mode = path.lstat().st_mode
            what: object = None
            if stat.S_ISLNK(mode):
                what = os.readlink(path)
            elif stat.S_ISREG(mode):
                what = path.read_bytes()
            found[str(path.relative_to(self.root))] = (mode, what)
        return found
