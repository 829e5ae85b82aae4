"""A terminal emulator that shows nothing to anybody: a pseudo-terminal, and a file with all that it was to show."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

#: Types something once it is asked for, and ends with its program.
_TERMINAL = """
import os, pty, sys
notes, prompt, keys, *argv = sys.argv[1:]
child, master = pty.fork()
if child == 0:
    os.execvp(argv[0], argv)
with open(notes, "ab", 0) as file:
    file.write(b"%d %d\\n" % (os.getpid(), child))
    try:
        while data := os.read(master, 65536):
            file.write(data)
            if data.endswith(os.fsencode(prompt)):
                os.write(master, os.fsencode(keys))
    except OSError:
        pass
"""


class Terminal:
    """The terminal of the VM with the files in *root*, by its admin's choice; at *prompt* its user types *keys*."""

    def __init__(self, root: Path, prompt: str = " [yes]?", keys: str = "yes\r") -> None:
        self._place = root.parent / f"{root.name}.terminal"
        program = root.parent / "terminal.py"
        program.write_text(_TERMINAL)
        (root / "etc/vminterface").mkdir(exist_ok=True)
        words = [sys.executable, str(program), str(self._place), prompt, keys]
        (root / "etc/vminterface/terminal-command").write_text(shlex.join(words), newline="")

    def clear(self) -> None:
        """Forget what was shown."""
        self._place.unlink(missing_ok=True)

    def shown(self) -> bytes:
        """Return what the terminal has shown."""
        return self._content().partition(b"\n")[2]

    def processes(self) -> list[int]:
        """Return the numbers of the terminal's process and its program's."""
        return [int(number) for number in self._content().partition(b"\n")[0].split()]

    def _content(self) -> bytes:
        return self._place.read_bytes() if self._place.exists() else b""
