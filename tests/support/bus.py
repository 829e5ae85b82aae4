"""A D-Bus system bus of the test's own, and daemons that think that they are this machine's."""

from __future__ import annotations

import os
import subprocess
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


class Bus:
    """The system bus of *machine*, for what runs with its address in the environment."""

    def __init__(self, network: Network, machine: InNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
        self.network, self.machine = network, machine
        folder = Path(machine.root).parent
        socket = folder / "bus"
        (folder / "bus.conf").write_text(_CONFIGURATION.format(socket=socket))
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={socket}")
        words = ["dbus-daemon", f"--config-file={folder}/bus.conf", "--nofork", "--nopidfile"]
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
