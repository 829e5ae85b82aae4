"""Our own XenStore daemon as a process, with the same face as the real one has in :mod:`lab.xenstored.fakexen`."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from lab.linux.namespaces import DIE_WITH_PARENT
from vminterface.channel.interruptions import Held
from vminterface.errors import ConnectionLost, StoreError
from vminterface.wire.xenstore import CLIENT, NEED_DATA, Connection, ErrorReply, Op, Reply, Request

START_SECONDS = 10.0
_PROJECT = Path(__file__).resolve().parents[2]


class OwnXenstored:
    """The daemon and its domains, below the folder *root*."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.socket_path = str(self.root / "run" / "socket")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which programs find this daemon."""
        return {"XENSTORED_PATH": self.socket_path, "XENSTORED_RUNDIR": str(self.root / "run")}

    def start(self) -> OwnXenstored:
        """Start the daemon with an empty store and wait until it answers. Raises ConnectionLost."""
        for folder in self.root.glob("dom*"):
            shutil.rmtree(folder)
        (self.root / "run").mkdir(parents=True, exist_ok=True)
        (self.root / "run" / "socket").unlink(missing_ok=True)
        paths = os.pathsep.join([str(_PROJECT), str(_PROJECT / "_utils")])
        with Held():
            self.process = self._launch(["lab.xenstored", str(self.root)], {**os.environ, "PYTHONPATH": paths})
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self._ask(Op.READ, "/")
                return self
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > end:
                    self.stop()
                    raise ConnectionLost(f"the lab's XenStore daemon below {self.root} did not start") from error
                time.sleep(0.01)

    def _launch(self, words: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*DIE_WITH_PARENT, sys.executable, "-m", *words], env=environment)

    def stop(self) -> None:
        """End the daemon; may be called twice."""
        if self.process is not None:
            self.process.kill()  # the store is in memory only
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        """Let the daemon end all connections, as at a restart that keeps its nodes; it does so in a moment."""
        if self.process is not None:
            self.process.send_signal(signal.SIGUSR1)

    def __enter__(self) -> OwnXenstored:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def create(self, domid: int) -> None:
        """Make a domain and introduce it."""
        self.make(domid)
        self.introduce(domid)

    def make(self, domid: int) -> None:
        """Let domain *domid* exist, not yet introduced."""
        (self.root / f"dom{domid}").mkdir()

    def introduce(self, domid: int) -> None:
        """Tell the store of the domain; its processes can connect from now on."""
        self._ask(Op.INTRODUCE, arguments=(str(domid), "1", "1"))

    def destroy(self, domid: int) -> None:
        """End a domain; those who watch ``@releaseDomain`` are told."""
        self._ask(Op.RELEASE, arguments=(str(domid),))
        shutil.rmtree(self.root / f"dom{domid}")

    def socket(self, domid: int) -> str:
        """Return the Unix socket whose clients are processes in domain *domid*."""
        return str(self.root / f"dom{domid}" / "xenbus")

    def _ask(self, op: Op, path: str = "", arguments: tuple[str, ...] = ()) -> Reply:
        connection = Connection(CLIENT)
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(START_SECONDS)
            stream.connect(self.socket_path)
            stream.sendall(connection.send(Request(op, path, arguments=arguments)))
            while (event := connection.next_event()) is NEED_DATA:
                connection.receive_data(stream.recv(65536))
        if not isinstance(event, Reply):
            reason = event.error if isinstance(event, ErrorReply) else "connection closed"
            raise StoreError(f"the lab's XenStore daemon refused {op.name} {path}{arguments}: {reason}")
        return event
