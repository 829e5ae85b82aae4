"""dom0's part of service calls: stands for Qubes' ``qrexec-daemon``, one for all VMs, and carries a real vchan.

``qrexec-client`` (:mod:`lab.qrexec.client`) hands its call to this daemon, which offers the VM a vchan of its own for
each call, below ``/local/domain/0/data/vchan/<domid>``, where the VM's part (:mod:`lab.xen.inside.qrexec_vm`) finds it.
That a domain was destroyed is not told to whoever shares memory with it, so it is looked for.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lab.qrexec.broker import Broker
from lab.qrexec.messages import Kind, Parser
from lab.xen.inside.carry import Carrier
from lab.xen.inside.vchan import Vchan
from vminterface.channel.store import KeyStore
from vminterface.channel.xenstore.store import XenStore
from vminterface.errors import KeyNotFound

#: Where ``qrexec-client`` finds it.
PLACE = Path("/run/qubes/qrexec.sock")
LOCK = PLACE.with_name("vchan.lock")
#: The folder of vchans that dom0 offers, as Qubes' libvchan names it.
FOLDER = "/local/domain/0/data/vchan"
POLICY = Path("/etc/qubes/policy")
#: The words of the exit status: a signed number of 32 bits.
_STATUS = struct.Struct("<i")
#: Seconds between two questions whether the domain lives.
_PROBE = 1.0


class Call:
    """A process of its own for each call, as far as the broker asks for it."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._status: int | None = None
        self._pid = os.fork()
        if self._pid == 0:
            try:
                work()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)

    def poll(self) -> int | None:
        """Return None while it runs."""
        if self._status is None:
            pid, state = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(state)
        return self._status


def carry(vm: str, command: str, streams: list[int], connection: int) -> None:
    """Have *command* (JSON) answered in *vm* for the caller at *connection*, with the caller's *streams*."""
    with XenStore.open() as store:
        domid = store.domains()[vm]
        port = os.getpid()
        with _alone():
            _offer(store, domid, port)
        try:
            vchan = Vchan.server(domid, f"{FOLDER}/{domid}/{port}")
            stdin, stdout, stderr = streams
            sinks = {Kind.STDOUT: stdout, Kind.STDERR: stderr}
            carrier = Carrier(vchan, Parser(), {Kind.STDIN: stdin}, sinks, connection)
            try:
                carrier.send(Kind.COMMAND, command.encode())
                life = Life(store, domid)
                carrier.run(lambda: _is_over(carrier, life))
            finally:
                carrier.close()
            if carrier.status is not None and not carrier.notified:
                (status,) = _STATUS.unpack(carrier.status)
                with suppress(OSError):
                    os.write(connection, json.dumps({"status": status}).encode())
        finally:
            with _alone():
                _withdraw(store, domid, port)


class Life:
    """Whether a domain lives, asked of the XenStore each second at most."""

    def __init__(self, store: XenStore, domid: int) -> None:
        self._store, self._domid = store, domid
        self._asked_at = 0.0

    def has_ended(self) -> bool:
        """Say so."""
        now = time.monotonic()
        if now - self._asked_at < _PROBE:
            return False
        self._asked_at = now
        return not self._store.is_introduced(self._domid)


def _is_over(carrier: Carrier, life: Life) -> bool:
    """Whether the caller closed the connection, the service is at its end, or the VM was destroyed."""
    return carrier.notified or (carrier.status is not None and carrier.is_delivered) or life.has_ended()


@contextmanager
def _alone() -> Iterator[None]:
    """Let one call at a time make or remove folders that all share."""
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _offer(store: KeyStore, domid: int, port: int) -> None:
    folder = f"{FOLDER}/{domid}"
    store.write(folder, b"")
    store.set_permissions(folder, ["n0", f"r{domid}"])
    # With that a call that ends meanwhile leaves the folder.
    store.write(f"{folder}/{port}", b"")


def _withdraw(store: KeyStore, domid: int, port: int) -> None:
    """Remove what was offered, and folders that are empty then."""
    path = f"{FOLDER}/{domid}/{port}"
    with suppress(KeyNotFound):  # the library has removed it, if it got so far
        store.remove(path)
    with suppress(KeyNotFound):  # another call has done so
        while (path := path.rpartition("/")[0]) != "/local/domain/0" and not store.list(path):
            store.remove(path)


def serve() -> None:
    """Take calls for ever."""
    PLACE.parent.mkdir(parents=True, exist_ok=True)
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    PLACE.unlink(missing_ok=True)
    ear.bind(str(PLACE))
    PLACE.chmod(0o600)
    ear.listen(64)
    watcher = selectors.DefaultSelector()
    watcher.register(ear, selectors.EVENT_READ)
    store = XenStore.open()

    def state(vm: str) -> str:
        return "running" if vm in store.domains() else "off"

    def start(vm: str, command: str, streams: list[int], connection: int) -> Call:
        return Call(lambda: carry(vm, command, streams, connection))

    broker = Broker(POLICY, state, start, watcher, lambda line: print(line, file=sys.stderr, flush=True))
    while True:
        for key, _ in watcher.select():
            if key.fileobj is ear:
                caller, _ = ear.accept()
                watcher.register(caller, selectors.EVENT_READ, caller)
            elif isinstance(key.data, socket.socket):
                watcher.unregister(key.data)
                broker.serve(key.data, "dom0")


if __name__ == "__main__":
    serve()
