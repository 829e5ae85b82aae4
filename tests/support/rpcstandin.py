"""Stand-ins for ``qrexec-client`` and ``qrexec-client-vm``: the real command lines, and VMs that are folders.

A handler is a file ``SERVICE`` or ``SERVICE+ARGUMENT`` in the VM's folder: a shell script of a test, or a program such
as the entries of the real handlers, which have the files below the VM's root for their machine. What they start has its
home and the first folder of its PATH there too, its ``/run``, and the variables of ``/etc/environment``. As the agent
does, the stand-ins wait for the session, and change the user, where the handlers' own configuration says so. Which of
the programs have run is kept in ``ran.log``, a name a line.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vminterface.vm.handlers.runtime.entry import configuration, entry
from vminterface.vm.handlers.runtime.table import SERVICES, Service

LIBRARY = str(Path(__file__).resolve().parents[2] / "_utils")

#: Run in a mount namespace of its own, so that nobody else sees what it mounts.
_ENTER = r"""
set -e
mount --bind "$STANDIN_ROOT/run" /run
export HOME="$STANDIN_ROOT/home/user" XDG_RUNTIME_DIR=/run/user/1000
export PATH="$STANDIN_ROOT/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
unset DISPLAY WAYLAND_DISPLAY
[ ! -e "$STANDIN_ROOT/etc/environment" ] || { set -a; . "$STANDIN_ROOT/etc/environment"; set +a; }
unset STANDIN_ROOT
cd
exec "$0" "$@"
"""

_COMMON = rf"""
vms=$(cd "$(dirname "$0")" && pwd)/vms
enter='{_ENTER}'
"""

_RUN = r"""
configured() {  # OPTION
    [ -e "$handler.config" ] && grep -Eq "^$1 ?= ?" "$handler.config"
}

run() {  # VM DESCRIPTOR SOURCE
    service=${2%%+*}
    argument=${2#"$service"}
    if [ ! -d "$vms/$1" ]; then
        echo "2026-01-01 00:00:00.000 $(basename "$0")[$$]: qrexec-daemon-common.c:1:connect_unix_socket:" \
            "connect /var/run/qubes/qrexec.$1: No such file or directory" >&2
        exit 125
    fi
    for handler in "$vms/$1/$service$argument" "$vms/$1/$service"; do
        if [ -e "$handler" ]; then
            export QREXEC_REMOTE_DOMAIN="$3" QREXEC_SERVICE_FULL_NAME="$2" QREXEC_USER="$user"
            if [ -x "$handler" ]; then
                export STANDIN_ROOT="$vms/$1.root"
                ! configured force-user || export QREXEC_USER=root
                [ "$(id -u)" = 0 ] && private=-m || private=-rm
                if configured wait-for-session; then
                    # Whether it ends well or not, the call goes on.
                    wait=$vms/$1/qubes.WaitForSession
                    echo user | unshare $private -- /bin/sh -c "$enter" "$wait" >/dev/null 2>&1
                fi
                echo "${handler##*/}" >>"$vms/../ran.log"
                export QREXEC_SERVICE_ARGUMENT="${argument#+}"
                exec unshare $private -- /bin/sh -c "$enter" "$handler" ${argument:+"${argument#+}"}
            fi
            [ -n "${argument#+}" ] && exec /bin/sh "$handler" "${argument#+}"
            exec /bin/sh "$handler"
        fi
    done
    exit 127
}
"""

_DOM0 = r"""
vm= user=
while getopts d:w: option; do
    case $option in
        d) vm=$OPTARG ;;
        w) export QREXEC_WAIT="$OPTARG" ;;
        *) exit 1 ;;
    esac
done
shift $((OPTIND - 1))
[ $# = 1 ] && [ -n "$vm" ] || exit 1
user=${1%%:*}
command=${1#*:}
case $command in "QUBESRPC "*" dom0") ;; *) exit 125 ;; esac
descriptor=${command#QUBESRPC }
descriptor=${descriptor% dom0}
case $descriptor in ""|*" "*) exit 125 ;; esac
run "$vm" "$descriptor" dom0
"""

_VM = r"""
[ $# = 2 ] || exit 2
user=policy
[ -e "$vms/$1/$2.refused" ] && { echo "Request refused" >&2; exit 126; }
run "$1" "$2" caller
"""


@functools.cache
def _with_handlers() -> list[Service]:
    return [one for one in SERVICES.values() if find_spec(f"vminterface.vm.handlers.{one.module}") is not None]


class StandIn:
    """The two programs in *folder*, and the handlers of VMs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.client = self._program("qrexec-client", _DOM0)
        self.client_vm = self._program("qrexec-client-vm", _VM)
        (folder / "vms").mkdir()
        (folder / "ran.log").touch()

    def _program(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{_COMMON}{_RUN}{text}")
        path.chmod(0o755)
        return str(path)

    def handler(self, vm: str, service: str, script: str) -> None:
        """Have *vm* answer *service* by running *script* in a shell."""
        (self.folder / "vms" / vm).mkdir(exist_ok=True)
        (self.folder / "vms" / vm / service).write_text(script)

    def machine(self, vm: str) -> Path:
        """Have *vm* answer by the real handlers; return the folder that is its root.

        Its clock is its own, and its user's session is up.
        """
        root = self.folder / "vms" / f"{vm}.root"
        (self.folder / "vms" / vm).mkdir(exist_ok=True)
        folders = ("home/user", "run/vminterface", "run/user/1000", "usr/local/bin", "usr/local/etc", "tmp", "etc")
        for folder in (*folders, "usr/bin", "usr/share"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        # The shell's handler looks whether the machine has one; started is the real one.
        (root / "bin").mkdir()
        (root / "bin/bash").touch()
        # The home is the same path for the handlers, to whom the root is "/", and for what they start.
        (root / str(root.parent).lstrip("/")).mkdir(parents=True)
        (root / str(root).lstrip("/")).symlink_to(root)
        (root / "run/vminterface/clock-offset").write_text("0\n")
        self.session(vm)
        for service in _with_handlers():
            program = self.folder / "vms" / vm / service.name
            program.write_text(entry(service.name, LIBRARY, sys.executable, str(root)))
            program.chmod(0o755)
            Path(f"{program}.config").write_text(configuration(service))
        return root

    def session(self, vm: str) -> Path:
        """Let the session of the user of *vm* be up; return what shows it."""
        socket = self.folder / "vms" / f"{vm}.root/run/qubes/qrexec-server.user.sock"
        socket.parent.mkdir(exist_ok=True)
        os.mknod(socket, stat.S_IFSOCK | 0o600)
        return socket

    def ran(self) -> list[str]:
        """Return which of the real handlers were started, one after the other."""
        return (self.folder / "ran.log").read_text().splitlines()

    def program(self, vm: str, name: str, script: str) -> None:
        """Let there be a shell script *name* on the PATH of *vm*."""
        path = self.folder / "vms" / f"{vm}.root/usr/local/bin" / name
        path.write_text(f"#!/bin/sh\n{script}")
        path.chmod(0o755)

    def processes(self) -> list[str]:
        """Return the command lines of living processes that were started through these programs."""
        found, mark = [], str(self.folder).encode()
        # By plain names: this is done hundreds of times for hundreds of processes.
        for number in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                # Every handler inherits the mark, so does what it leaves in the background. The kernel's own processes,
                # and those that have ended, have no command line.
                words = _read(f"/proc/{number}/cmdline")
                if words and mark in words + _read(f"/proc/{number}/environ"):
                    found.append(words.replace(b"\0", b" ").decode())
        return found


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()


def has_zombie() -> bool:
    """Whether a child of this process has ended that nobody has waited for."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def child_states() -> list[str]:
    """Return the states (``Z`` is a zombie) of this process's children."""
    states = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                fields = (process / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == os.getpid():
                states.append(fields[0])
    return states


def until(condition: Any, seconds: float = 20.0) -> bool:
    """Wait until *condition* holds; return whether it does."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
