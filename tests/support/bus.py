"""A D-Bus system bus of the test's own, and daemons, real or mocked, that think that they are this machine's."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.netns import InNamespace, Network, until

_CONFIGURATION = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/> <allow own="*"/> <allow send_destination="*"/> <allow receive_sender="*"/>
  </policy>
</busconfig>
"""
#: Gives a daemon a file system where /run is the VM's, and nothing of this machine's is changed.
_IN_VM = """
set -e
mkdir -p "$ROOT/run/systemd" "$ROOT/run/NetworkManager" "$ROOT/state"
{ grep -v systemd-resolve /etc/passwd; echo systemd-resolve:x:0:0::/:/bin/false; } > "$ROOT/state/passwd"
mount --make-rprivate /
mount --bind "$ROOT/state/passwd" /etc/passwd
: > "$ROOT/state/resolv.conf"
mount --bind "$ROOT/state/resolv.conf" /etc/resolv.conf
mount --bind "$ROOT/run" /run
mount -t tmpfs none /var/lib
# Where it cannot be written to, NetworkManager expects no word of udev.
mount -t sysfs -o ro none /sys
exec "$@"
"""


def _daemon(folder: Path) -> tuple[Path, list[str]]:
    """Return the socket of a bus with its files in *folder*, and what starts it."""
    socket, configuration = folder / "bus", folder / "bus.conf"
    configuration.write_text(_CONFIGURATION.format(socket=socket))
    return socket, ["dbus-daemon", f"--config-file={configuration}", "--nofork", "--nopidfile"]


class Bus:
    """The system bus of *machine*, for what runs with its address in the environment."""

    def __init__(self, network: Network, machine: InNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
        self.network, self.machine = network, machine
        folder = Path(machine.root).parent
        socket, words = _daemon(folder)
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={socket}")
        network.start(machine, words, folder / "bus.log")
        until(socket.exists)

    def daemon(self, name: str, *argv: str) -> subprocess.Popen[str]:
        """Start a daemon in the machine and wait for *name* to be on the bus."""
        log = Path(self.machine.root).parent / f"{name}.log"
        words = ["env", f"ROOT={self.machine.root}", "unshare", "-m", "sh", "-c", _IN_VM, "daemon", *argv]
        process = self.network.start(self.machine, words, log)

        def there() -> bool:
            assert process.poll() is None, log.read_text()
            listed = self.machine.run(["busctl", "--no-pager", "--acquired", "list"]).decode()
            return any(line.split()[:1] == [name] for line in listed.splitlines())

        until(there)
        return process


def program(name: str) -> str | None:
    """Where a daemon's program is, None if it is not installed."""
    places = [*os.environ["PATH"].split(os.pathsep), "/usr/sbin", "/usr/lib/systemd", "/lib/systemd"]
    return next((f"{place}/{name}" for place in places if os.access(f"{place}/{name}", os.X_OK)), None)


#: The system's own Python: dbusmock is a package of Debian's, with parts in C.
_PYTHON = "/usr/bin/python3"


def lack_of_mocks() -> str:
    """Say what is missing here for mocked daemons, empty if nothing is."""
    gone = [name for name in ("dbus-daemon", "dbus-send", "busctl", _PYTHON) if shutil.which(name) is None]
    if not gone and subprocess.run([_PYTHON, "-c", "import dbusmock"], capture_output=True, check=False).returncode:
        gone = ["dbusmock"]
    packages = "dbus-daemon, dbus-bin, systemd, python3-dbusmock"
    return f"no {', '.join(gone)} (Debian packages {packages})" if gone else ""


class Mock:
    """A daemon by python-dbusmock, *name* on a bus of its own at *address*; *log* has the calls that it got."""

    def __init__(self, address: str, name: str, path: str, log: Path, process: subprocess.Popen[bytes]) -> None:
        self.address, self.log, self._process = address, log, process
        self._place = [name, path]

    def method(self, name: str, signature: str, code: str) -> None:
        """Let it have a method of its interface, with arguments of that D-Bus *signature*, that runs Python *code*."""
        words = ["busctl", "--system", "call", *self._place, "org.freedesktop.DBus.Mock", "AddMethod", "sssss"]
        environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address}

        def added() -> bool:
            command = [*words, "", name, signature, "", code]
            return (
                subprocess.run(command, env=environment, capture_output=True, check=False, timeout=20).returncode == 0
            )

        until(added)

    def calls(self) -> list[str]:
        """Return the calls since the last time: method, and arguments as Python shows them."""
        lines = [line.partition(" ")[2] for line in self.log.read_text().splitlines()]
        self.log.write_text("")
        return lines

    def end(self) -> None:
        """Be gone from the bus."""
        self._process.terminate()
        self._process.wait(20)


@contextlib.contextmanager
def mocked(folder: Path, name: str, path: str) -> Iterator[Mock]:
    """Give a daemon with one object at *path*, whose interface has the daemon's *name*, on a bus in *folder*."""
    socket, words = _daemon(folder)
    address, log = f"unix:path={socket}", folder / "mock.log"
    log.touch()
    null = subprocess.DEVNULL
    with subprocess.Popen(words, stdout=null, stderr=null) as bus:
        try:
            until(socket.exists)
            words = [_PYTHON, "-m", "dbusmock", "--system", "--logfile", str(log), name, path, name]
            environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": address}
            with subprocess.Popen(words, env=environment, stdout=null, stderr=null) as daemon:
                mock = Mock(address, name, path, log, daemon)
                try:
                    yield mock
                finally:
                    mock.end()
        finally:
            bus.terminate()
