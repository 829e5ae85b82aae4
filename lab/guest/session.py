"""The graphical session of a VM, from inside: an X server on display 0 with VMs' video driver, and the sign of it.

Says ``ready KIND``, ``missing REASON`` or ``failed REASON`` on standard output, and lasts as long as the server. The
sign is the socket by which a Qubes session takes calls; here nobody serves it.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from lab.guest.vmroot import DEFAULT_USER
from lab.qrexec.agent import SESSION

XORG = Path("/usr/lib/xorg/Xorg")
DRIVER = Path("/usr/lib/xorg/modules/drivers/dummy_drv.so")
CONFIGURATION = """
Section "ServerFlags"
  Option "AutoAddDevices" "false"
  Option "AutoAddGPU" "false"
EndSection
Section "Device"
  Identifier "dummy"
  Driver "dummy"
  VideoRam 200000
EndSection
Section "Screen"
  Identifier "screen"
  Device "dummy"
EndSection
Section "ServerLayout"
  Identifier "layout"
  Screen "screen"
EndSection
"""
#: What brings a server with several monitors, on Debian.
XORG_PACKAGES = "xserver-xorg-core and xserver-xorg-video-dummy"
_DISPLAY = ":0"
#: For a server that hangs: in an emulated machine it takes longer than the one who waits for a lab VM would.
_SECONDS = 150.0


def _command() -> tuple[str, list[str]] | None:
    """Return the kind of server that this machine has, and how it is started; None if it has none."""
    if XORG.exists() and DRIVER.exists():
        configuration = Path("/etc/X11/lab.conf")
        configuration.parent.mkdir(parents=True, exist_ok=True)
        configuration.write_text(CONFIGURATION)
        files = ["-config", str(configuration), "-logfile", "/var/log/Xorg.0.log"]
        return "Xorg, several monitors", [str(XORG), _DISPLAY, *files, "-novtswitch", "-sharevts"]
    if found := shutil.which("Xvfb"):
        return "Xvfb, one monitor", [found, _DISPLAY, "-screen", "0", "1920x1080x24"]
    return None


def main() -> int:
    """Be the session."""
    if shutil.which("xrandr") is None:
        print("missing no program xrandr here (Debian package x11-xserver-utils)", flush=True)
        return 1
    server = _command()
    if server is None:
        print(f"missing no X server here (Debian packages {XORG_PACKAGES})", flush=True)
        return 1
    kind, command = server
    reading, writing = os.pipe()
    # Nobody else can come to this display: it is a socket among the VM's own files, and in its own network.
    process = subprocess.Popen(
        [*command, "-ac", "-nolisten", "tcp", "-noreset", "-displayfd", str(writing)],
        pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=sys.stderr,
    )  # fmt: skip
    os.close(writing)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    if not select.select([reading], [], [], _SECONDS)[0] or not os.read(reading, 16):
        process.kill()
        print(f"failed {command[0]} did not start: see the VM's log", flush=True)
        return 1
    path = SESSION.format(DEFAULT_USER)
    with suppress(FileNotFoundError):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX) as sign:
        sign.bind(path)
        print(f"ready {kind}", flush=True)
        process.wait()
    os.unlink(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
