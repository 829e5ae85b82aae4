"""Distinguish a ``qrexec-client`` without a daemon of the VM from a service in the VM that prints the same words.

Both end with the same status and write to the same standard error. So the words are only a reason to check whether the
daemon is there, which no VM can make believe. Source of the words and the socket's place: Qubes core-qrexec
``daemon/qrexec-client.c`` and ``daemon/qrexec-daemon-common.c`` (``connect_unix_socket``), ``libqrexec/log.c``.
"""

from __future__ import annotations

import os
import re
import socket

#: Where the daemons' sockets are, unless the environment names another folder.
FOLDER = "/var/run/qubes"
FOLDER_VARIABLE = "VMINTERFACE_QREXEC_DIR"

#: How qrexec-client ends when it is itself that failed: R4, R2 and R3, a failed handshake.
_OWN_FAILURES = (125, 1, 255)
#: R2 and R3; R4.0 and R4.1 put time, program and place in the code before it; R4.2 names the socket too.
_WORDS = (
    r"(?:[-0-9]+ [:.0-9]+ \S+\[[0-9]+\]: (?:\S+:[0-9]+:\w+: )?)?"
    r"connect(?: /\S*/qrexec\.{vm})?: (?:No such file or directory|Connection refused)"
)


def is_missing(vm: str, status: int, untrusted_stderr: str) -> bool:
    """Whether a call that ended so failed because the daemon of *vm* is missing, which is checked."""
    if status not in _OWN_FAILURES:
        return False
    line = re.compile(_WORDS.replace("{vm}", re.escape(vm)), re.ASCII)
    return any(map(line.fullmatch, untrusted_stderr.splitlines())) and not _listens(vm)


def _listens(vm: str) -> bool:
    """Whether the daemon's socket takes connections; also true where that is unknown."""
    folder = os.environ.get(FOLDER_VARIABLE) or FOLDER
    with socket.socket(socket.AF_UNIX) as connection:
        # A daemon that hangs is there, and is not waited for.
        connection.setblocking(False)
        try:
            connection.connect(f"{folder}/qrexec.{vm}")
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            return True
    return True
