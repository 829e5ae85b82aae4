"""The real C xenstored on a machine without a hypervisor: a folder stands for Xen, see ``fakexen.c``.

What is real: the daemon, with its permissions, quotas, transactions and watches. What is played: the hypervisor
(domains are folders, event channels are fifos) and each guest's kernel (:mod:`lab.xenstored.fakexen_guest`).
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path

from lab.xenstored.fakexen_guest import Guest
from vminterface.channel.interruptions import Held
from vminterface.wire.xenstore import CLIENT, NEED_DATA, Connection, ErrorReply, Op, Reply, Request

VIRQ_PORT = 1
START_SECONDS = 10.0


def find_xenstored() -> Path | None:
    """Return the C xenstored of the newest Xen installed under ``/usr/lib``, None if there is none."""
    found = sorted(glob.glob("/usr/lib/xen-*/bin/xenstored"))
    return Path(found[-1]) if found else None


def missing() -> str:
    """Say what this machine lacks to run the real xenstored, "" if nothing."""
    if find_xenstored() is None:
        return "no /usr/lib/xen-*/bin/xenstored (Debian package xen-utils-4.17)"
    return "" if shutil.which("cc") else "no C compiler `cc`"


def build_shim(cache: Path | None = None) -> Path:
    """Compile ``fakexen.c`` unless its very text was compiled before; return the library's path."""
    source = Path(__file__).with_name("fakexen.c")
    folder = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vminterface"
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"fakexen-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}.so"
    if not library.exists():
        fresh = library.with_suffix(f".{os.getpid()}")
        command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-fno-builtin", "-o", str(fresh), str(source), "-ldl"]
        subprocess.run(command, check=True, timeout=60)
        fresh.replace(library)  # whole or not at all: others may build at the same time
    return library


class RealXenstored:
    """xenstored and its domains, below the folder *root*."""

    def __init__(self, root: Path | str, *, cache: Path | None = None) -> None:
        self.root = Path(root)
        self.socket_path = str(self.root / "run" / "socket")
        self.process: subprocess.Popen[bytes] | None = None
        self._cache = cache
        self._guests: dict[int, Guest] = {}

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which the ``xenstore-*`` tools and libxenstore find this daemon."""
        return {
            "XENSTORED_PATH": self.socket_path,
            "XENSTORED_RUNDIR": str(self.root / "run"),
            "XENSTORED_ROOTDIR": str(self.root),
        }

    def start(self) -> RealXenstored:
        """Start the daemon with an empty store and wait until it answers."""
        program = find_xenstored()
        if program is None:
            raise FileNotFoundError(missing())
        self._clear()
        (self.root / "run").mkdir(parents=True)
        os.mkfifo(self.root / "evtchn")
        self._make_domain(0)
        played = {"FAKEXEN": str(self.root), "LD_PRELOAD": str(build_shim(self._cache))}
        with Held():
            self.process = subprocess.Popen([program, "-N"], env={**os.environ, **self.environment, **played})
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self._ask(Op.READ, "/")
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    self.stop()
                    raise
                time.sleep(0.005)

    def live_update(self) -> None:
        """Let the daemon go on as a new program with the same nodes, connections and watches. Raises OSError."""
        program = find_xenstored()
        assert program is not None
        control = [str(program.with_name("xenstore-control")), "live-update", "-t", f"{START_SECONDS:g}", str(program)]
        done = subprocess.run(
            control, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=3 * START_SECONDS
        )
        if done.returncode or not self.is_updated:
            raise OSError(f"xenstore-control live-update: status {done.returncode}: {done.stdout}{done.stderr}")

    @property
    def is_updated(self) -> bool:
        """Whether the daemon that runs is one that has taken over from another."""
        assert self.process is not None
        return b"-U" in Path(f"/proc/{self.process.pid}/cmdline").read_bytes().split(b"\0")

    def stop(self) -> None:
        """End the daemon and every guest; may be called twice."""
        for guest in self._guests.values():
            guest.close()
        self._guests.clear()
        if self.process is not None:
            self.process.kill()  # the store is in memory only, and a stopped process takes no other signal
            self.process.wait()
            self.process = None

    def __enter__(self) -> RealXenstored:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def create(self, domid: int) -> Guest:
        """Make a domain and introduce it to the store, as a toolstack does."""
        self._make_domain(domid)
        self._ask(Op.INTRODUCE, arguments=(str(domid), "1", "1"))
        self._guests[domid] = Guest(self.root, domid)
        return self._guests[domid]

    def destroy(self, domid: int) -> None:
        """End a domain; the daemon notices and tells those who watch ``@releaseDomain``."""
        self._guests.pop(domid).close()
        shutil.rmtree(self.root / f"dom{domid}")
        with open(self.root / "evtchn", "wb", buffering=0) as events:
            events.write(struct.pack("<I", VIRQ_PORT))

    def socket(self, domid: int) -> str:
        """Return the Unix socket whose clients are processes in domain *domid*."""
        return self._guests[domid].socket_path

    def device(self, domid: int) -> str:
        """Return the device file that is ``/dev/xen/xenbus`` of domain *domid*, for one client at a time."""
        return self._guests[domid].device_path

    def _make_domain(self, domid: int) -> None:
        folder = self.root / f"dom{domid}"
        folder.mkdir()
        os.mkfifo(folder / "evtchn")
        (folder / "ring").write_bytes(bytes(4096))

    def _clear(self) -> None:
        for path in (self.root / "run", self.root / "evtchn", *self.root.glob("dom*")):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _ask(self, op: Op, path: str = "", arguments: tuple[str, ...] = ()) -> Reply:
        connection = Connection(CLIENT)
        with socket.socket(socket.AF_UNIX) as stream:
            # Its backlog is 1: without a timeout, which would make it EAGAIN, the next connection waits for its turn.
            stream.connect(self.socket_path)
            stream.settimeout(START_SECONDS)
            stream.sendall(connection.send(Request(op, path, arguments=arguments)))
            while (event := connection.next_event()) is NEED_DATA:
                connection.receive_data(stream.recv(65536))
        if not isinstance(event, Reply):
            reason = event.error if isinstance(event, ErrorReply) else "connection closed"
            raise OSError(f"xenstored refused {op.name} {path}{arguments}: {reason}")
        return event
