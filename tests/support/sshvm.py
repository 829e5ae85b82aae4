"""A VM for ``salt-ssh`` made of namespaces: the machine's own root, seen through an overlay that only the VM has.

There is no sshd: programs called ``ssh`` and ``scp``, found first on PATH, enter the namespaces instead. The VM has no
network and may not set the clock; all that it writes is gone when its first process ends.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import namespace

_SPACES = ("--mount", "--pid", "--uts", "--ipc", "--net")
_FORBIDDEN = "-sys_time,-sys_boot,-sys_module,-sys_rawio"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: $1: an empty folder, $2: the folder that has the VM's XenStore socket.
_START = r"""
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
for folder in run tmp; do mount -t tmpfs tmpfs $folder; done
mkdir run/lock run/xenstored
# Whatever this machine has of the product is not the VM's.
rm -rf usr/bin/vminterface usr/lib/vminterface etc/vminterface etc/qubes-rpc etc/qubes
# No systemd in this VM, as its first process is none; what runlevel says there, sysvinit's own says too.
rm -f usr/bin/systemctl usr/sbin/runlevel
printf '#!/bin/sh\necho N 2\n' > usr/sbin/runlevel
chmod 755 usr/sbin/runlevel
mount --bind "$2" run/xenstored
mount -t proc proc proc
mount --rbind /dev dev
hostname vm
exec chroot . sh -c 'echo ready; exec sleep infinity'
"""
_SSH = """#!/bin/sh
# Called as ssh [options] host [options] [command]: runs the command, or what stdin says, in the VM.
host=
while [ $# -gt 0 ]; do
    case $1 in
        -V) echo "OpenSSH_9.2p1" >&2; exit 0 ;;
        -[bcDeFIiJLlmOopQRSWw]) shift 2 ;;
        -*) shift ;;
        *) [ -z "$host" ] || break; host=$1; shift ;;
    esac
done
case "$*" in
    "" | /bin/sh) exec {enter} /bin/sh ;;
    *) exec {enter} /bin/sh -c "$*" ;;
esac
"""
_SCP = """#!/bin/sh
# Called as scp [options] file host:path.
while [ $# -gt 2 ]; do shift; done
# (salt-ssh puts the two names last)
# Salt 3008 copies extension modules before it has made the folder.
exec {enter} /bin/sh -c "mkdir -p \\$(dirname '${{2#*:}}') && cat > '${{2#*:}}'" < "$1"
"""


def missing() -> str:
    """Say what this machine lacks for such a VM, "" if nothing."""
    if os.geteuid() != 0:
        return "VMs with an overlay of the machine's root need root"
    if lacks := [p for p in ("unshare", "nsenter", "setpriv", "update-rc.d", "service") if shutil.which(p) is None]:
        return f"no program {lacks[0]} here"
    overlay = 'mount -t overlay o -o "lowerdir=/,upperdir=$0/u,workdir=$0/w" "$0"'
    probe = f'mount -t tmpfs t "$0" && mkdir "$0/u" "$0/w" && {overlay}'
    done = subprocess.run(["unshare", "--mount", "/bin/sh", "-c", probe, "/mnt"], capture_output=True, timeout=10)
    return "" if done.returncode == 0 else f"no overlay in a namespace here: {done.stderr.decode().strip()}"


class SshVM:
    """The VM; *folder* is empty, *xenstore* has its XenStore socket. ``PATH`` in :attr:`environment` leads to it."""

    def __init__(self, folder: Path, xenstore: Path) -> None:
        self._root, self._programs = folder / "vm", folder / "bin"
        self._xenstore = xenstore
        self._process: subprocess.Popen[str] | None = None
        self.environment = {**os.environ, "PATH": f"{self._programs}:{os.environ['PATH']}"}

    def __enter__(self) -> Self:
        for folder in (self._root, self._programs):
            folder.mkdir()
        self._process = namespace.start(
            [
                *("setpriv", "--pdeathsig", "KILL", "--bounding-set", _FORBIDDEN, "--"),
                *("unshare", *_SPACES, "--propagation", "private", "--fork", "--kill-child"),
                *("/bin/sh", "-c", _START, "vm", str(self._root), str(self._xenstore)),
            ],
            "the VM",
        )
        first = namespace.inside(self._process)
        self._outside = ["nsenter", "--target", first, "--mount", "--"]
        inside = f"env -i HOME=/root USER=root LOGNAME=root PATH={_PATH} setpriv --bounding-set {_FORBIDDEN} --"
        self._enter = f"nsenter --target {first} {' '.join(_SPACES)} --root --wd -- {inside}"
        for name, text in (("ssh", _SSH), ("scp", _SCP)):
            program = self._programs / name
            program.write_text(text.format(enter=self._enter))
            program.chmod(0o755)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        assert self._process is not None
        namespace.end(self._process)

    def run(self, command: str) -> str:
        """Run a shell command in the VM and return its output; AssertionError if it fails."""
        done = subprocess.run(
            [*self._enter.split(), "/bin/sh", "-c", command], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def written(self) -> set[str]:
        """Return the path of all that is in the VM and not so on this machine, but for its /run, /tmp and /var/tmp.

        A folder counts where this machine has none.
        """
        upper = self._root / "upper"
        command = [*self._outside, "find", str(upper), "-mindepth", "1", "-printf", "%y %P\\n"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        found = (line.partition(" ") for line in done.stdout.splitlines())
        return {
            f"/{path}"
            for kind, _, path in found
            if not path.startswith("var/tmp/") and not (kind == "d" and Path("/", path).is_dir())
        }

    def forget_grains(self) -> None:
        """Remove the grains that salt-ssh keeps of the VM for some minutes, its ID among them."""
        self.run("rm -f /var/tmp/.root_*_salt/running_data/var/cache/salt/minion/grains.cache.p")

    def wait_for(self, command: str, seconds: float = 30.0) -> str:
        """Run *command* until it succeeds and return its output."""
        end = time.monotonic() + seconds
        while True:
            try:
                return self.run(command)
            except AssertionError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
