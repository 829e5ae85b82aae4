"""A VM's part of service calls: stands for Qubes' ``qrexec-agent``, and takes real vchans.

Each vchan that dom0 offers this VM is one call. It is answered by :mod:`lab.qrexec.agent`, which finds the handler and
the user as it does in the lab of namespaces.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys
import time
import traceback
from contextlib import suppress

from lab.guest.vmroot import DEFAULT_USER
from lab.qrexec import agent
from lab.qrexec.messages import Kind, Parser
from lab.xen.inside.carry import Carrier
from lab.xen.inside.vchan import Vchan
from vminterface.channel.xenstore.store import XenStore
from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded, KeyNotFound, PermissionDenied

FOLDER = "/local/domain/0/data/vchan"
#: What the library writes last: with it the vchan can be opened.
_LAST_KEY = "/event-channel"
_DOM0 = 0
#: Seconds for the command after the vchan, and for the caller to be told of the end.
_PATIENCE = 30.0
#: Seconds after which ended processes are reaped if no call comes.
_PROBE = 30.0
_STATUS = struct.Struct("<i")


def reply(path: str) -> None:
    """Answer the call whose vchan is at *path*."""
    vchan = Vchan.client(_DOM0, path)
    parser = Parser()
    command = _command(vchan, parser)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    (stdin, feed), (collect, stdout), (complain, stderr) = os.pipe(), os.pipe(), os.pipe()
    process = os.fork()
    if process == 0:
        for number, descriptor in enumerate((stdin, stdout, stderr)):
            os.dup2(descriptor, number)
        last = os.dup(theirs.fileno())
        os.dup2(last, 3)
        os.closerange(4, 256)
        agent.main(["", DEFAULT_USER, "3", command])
    for descriptor in (stdin, stdout, stderr):
        os.close(descriptor)
    theirs.close()
    os.set_blocking(feed, False)
    sources = {Kind.STDOUT: collect, Kind.STDERR: complain}
    carrier = Carrier(vchan, parser, sources, {Kind.STDIN: feed}, ours.fileno())
    try:
        # The agent says how the call ended after the last byte of output.
        if carrier.run(lambda: carrier.notified and carrier.is_done):
            status = json.loads(ours.recv(4096) or b'{"status": 125}')["status"]
            carrier.send(Kind.STATUS, _STATUS.pack(status))
            end = time.monotonic() + _PATIENCE
            carrier.run(lambda: time.monotonic() > end)  # until dom0 has closed its end
    finally:
        carrier.close()
        with suppress(ChildProcessError):
            os.waitpid(process, os.WNOHANG)


def _command(vchan: Vchan, parser: Parser) -> str:
    """Return what is to be run, the first message. Raises TimeoutError, BadMessage."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        parser.feed(vchan.read())
        for kind, body in parser.messages():
            if kind is not Kind.COMMAND:
                break
            return body.decode()
        if select.select([vchan], [], [], 1.0)[0]:
            vchan.take_event()
    raise TimeoutError(f"no command within {_PATIENCE:g} s")


def serve() -> None:
    """Take calls for ever."""
    with XenStore.open() as store:
        folder = f"{FOLDER}/{int(store.read('domid'))}"
        taken: set[str] = set()
        with store.watch([folder]) as watch:
            changed = {folder}
            while True:
                # Not all is looked at for each of the keys that the library writes for a call: a question takes as long
                # as it takes until the hypervisor has let dom0 and this VM have their turns.
                known = _offers(store, folder) if folder in changed else {path for path in taken if path not in changed}
                offered = known | {path for path in changed if path.endswith(_LAST_KEY) and _is_there(store, path)}
                for path in offered - taken:
                    _start(path.removesuffix(_LAST_KEY))
                taken = offered
                with suppress(ChildProcessError):
                    while os.waitpid(-1, os.WNOHANG)[0]:
                        pass
                changed = {folder}
                with suppress(DeadlineExceeded):
                    changed = {event.path for event in watch.next(Deadline.after(_PROBE))}


def _offers(store: XenStore, folder: str) -> set[str]:
    """Return the last keys of all vchans that are offered."""
    try:
        paths = [f"{folder}/{port}{_LAST_KEY}" for port in store.list(folder)]
    except (KeyNotFound, PermissionDenied):  # a VM is not told of what is not there in a folder that it may not read
        return set()
    return {path for path in paths if _is_there(store, path)}


def _is_there(store: XenStore, path: str) -> bool:
    try:
        return store.exists(path)
    except PermissionDenied:
        return False


def _start(path: str) -> None:
    if os.fork() == 0:
        try:
            reply(path)
        except BaseException:
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(0)


if __name__ == "__main__":
    serve()
