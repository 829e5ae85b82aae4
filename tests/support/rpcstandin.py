"""Stand-ins for ``qrexec-client`` and ``qrexec-client-vm``: the real command lines, handlers that are shell scripts.

A VM is a folder, a handler a file ``SERVICE`` or ``SERVICE+ARGUMENT`` in it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_COMMON = r"""
vms=$(dirname "$0")/vms
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


class StandIn:
    """The two programs in *folder*, and the handlers of VMs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.client = self._program("qrexec-client", _DOM0)
        self.client_vm = self._program("qrexec-client-vm", _VM)
        (folder / "vms").mkdir()

    def _program(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{_COMMON}{text}")
        path.chmod(0o755)
        return str(path)

    def handler(self, vm: str, service: str, script: str) -> None:
        """Have *vm* answer *service* by running *script* in a shell."""
        (self.folder / "vms" / vm).mkdir(exist_ok=True)
        (self.folder / "vms" / vm / service).write_text(script)

    def processes(self) -> list[str]:
        """Return the command lines of living processes that were started through these programs."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    # Every handler inherits the mark, so does what it leaves in the background.
                    if str(self.folder).encode() in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                        found.append((entry / "cmdline").read_text().replace("\0", " "))
                except OSError:
                    continue
        return found


def child_states() -> list[str]:
    """Return the states (``Z`` is a zombie) of this process's children."""
    states = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == os.getpid():
                states.append(fields[0])
    return states


def until(condition, seconds: float = 2.0) -> bool:
    """Wait until *condition* holds; return whether it does."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
