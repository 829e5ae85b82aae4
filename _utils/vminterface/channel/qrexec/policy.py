"""Ask dom0's policy whether a VM's call would be allowed, without making it.

The daemon of Qubes R4.2 and later takes lines ``NAME=VALUE`` up to an empty one, and replies with ``result=allow`` or
``result=deny``, also where it cannot evaluate. Source: Qubes core-qrexec,
``qrexec/tools/qrexec_policy_daemon.py``.
"""

from __future__ import annotations

import os
import socket

from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost, DeadlineExceeded, RemoteProtocolError, printable
from vminterface.values import rpcname

#: The daemon's socket, unless this variable of the environment names another one.
SOCKET = "/run/qubes/policy.sock"
SOCKET_VARIABLE = "VMINTERFACE_POLICY_SOCKET"
TIMEOUT = 10.0
#: Bytes of a reply.
_LIMIT = 4096


def allows(source: str, target: str, service: str, argument: str = "", *, timeout: float = TIMEOUT) -> bool | None:
    """Return whether *source* may call *service* in *target*, a VM or such as ``@default``; None without a daemon.

    What dom0's user would be asked about is not allowed. Raises InvalidValue, DeadlineExceeded, ConnectionLost,
    RemoteProtocolError.
    """
    lines = (
        f"source={rpcname.parse_target(source)}",
        f"intended_target={rpcname.parse_target(target, keywords=True)}",
        f"service_and_arg={rpcname.parse_service(service)}+{rpcname.parse_argument(argument)}",
        "just_evaluate=yes",
    )
    path = os.environ.get(SOCKET_VARIABLE) or SOCKET
    if not os.path.exists(path):
        return None
    what = f"dom0's policy for {service} of {source}"
    untrusted_reply = _exchange(path, "".join(f"{line}\n" for line in (*lines, "")).encode("ascii"), timeout, what)
    words = untrusted_reply.decode("latin-1").split("\n")
    if "result=allow" in words or "result=deny" in words:
        return "result=allow" in words
    shown = printable(untrusted_reply, 60)
    raise RemoteProtocolError(f"{what}: '{shown}' is not a valid reply (expected result=allow or result=deny)")


def _exchange(path: str, request: bytes, timeout: float, what: str) -> bytes:
    deadline = Deadline.after(timeout)
    reply = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(deadline.check(what))
            connection.connect(path)
            connection.sendall(request)
            while len(reply) <= _LIMIT:
                connection.settimeout(deadline.check(what))
                if not (piece := connection.recv(_LIMIT)):
                    return reply
                reply += piece
    except TimeoutError:
        raise DeadlineExceeded(f"{what}: no reply within {timeout:g} s") from None
    except OSError as error:
        raise ConnectionLost(f"{path}: {error.strerror or error}") from error
    raise RemoteProtocolError(f"{what}: a reply of more than {_LIMIT} bytes")
