"""X servers without a screen: Xvfb with its one output, and Xorg with the video driver of VMs, which has sixteen."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from lab.guest import session

XORG, DUMMY = str(session.XORG), str(session.DRIVER)


def lack(*programs: str) -> str:
    """Say which of *programs* are missing here, empty if none is."""
    gone = [program for program in programs if shutil.which(program) is None and not os.path.exists(program)]
    packages = "xvfb, xserver-xorg-core, xserver-xorg-video-dummy, x11-xserver-utils, xcvt"
    return f"no {', '.join(gone)} (Debian packages {packages})" if gone else ""


class XServer:
    """An X server on a free display; *command* gets that it is to name the display, and never to reset itself."""

    def __init__(self, command: list[str]) -> None:
        reader, writer = os.pipe()
        self._process = subprocess.Popen(
            [*command, "-displayfd", str(writer), "-nolisten", "tcp", "-noreset"],
            pass_fds=[writer],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(writer)
        with open(reader) as numbers:
            number = numbers.readline().strip()
        if not number:
            self.end()
            raise RuntimeError(f"{command[0]} did not start")
        self.display = f":{number}"

    @classmethod
    def xvfb(cls, size: str = "1280x1024x24") -> XServer:
        return cls(["Xvfb", "-screen", "0", size])

    @classmethod
    def dummy(cls, folder: Path) -> XServer:
        """Xorg as in a VM; only root may start it."""
        configuration = folder / "xorg.conf"
        configuration.write_text(session.CONFIGURATION)
        words = ["-config", str(configuration), "-logfile", str(folder / "xorg.log"), "-novtswitch", "-sharevts"]
        return cls([XORG, *words])

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def xrandr(self, *words: str) -> str:
        command = ["xrandr", "--display", self.display, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout

    def layout(self) -> list[str]:
        """Return the outputs that show something, as xrandr tells: name, geometry and size."""
        lines = self.xrandr("-q").replace(" primary", "").splitlines()
        found = []
        for line in lines:
            words = line.split()
            if words[1:2] == ["connected"] and words[2:] and "+" in words[2]:
                found.append(" ".join([words[0], *words[2:]]))
        return found
