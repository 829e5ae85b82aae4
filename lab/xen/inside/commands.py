"""Runs commands for the machine outside: in dom0 over a virtio port, in a VM over its console, which dom0 passes on.

A request is a line ``?JSON`` with ``id``, ``words``, ``input``, ``seconds``, and ``domid`` where it is for a VM. Its
answer is a line ``@JSON`` with ``id``, ``status``, ``out``, ``err``, and ``domid`` where it is from a VM. Who is ready
says ``@{"ready": true}``. Other lines are the kernel's.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from typing import Any

#: What a shell gives for a command that was ended for taking too long (timeout(1)).
TIMED_OUT = 124


class Line:
    """A device that carries lines both ways."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_NOCTTY)
        self._lock = threading.Lock()
        if os.isatty(self._file):
            tty.setraw(self._file)

    def send(self, line: str) -> None:
        """Send one line, whole, however many send."""
        data = line.encode() + b"\n"
        with self._lock:
            while data:
                data = data[os.write(self._file, data) :]

    def lines(self) -> Iterator[str]:
        """Yield the lines that come, for ever."""
        rest = b""
        while True:
            data = os.read(self._file, 65536)
            if not data:
                time.sleep(0.05)  # a virtio port with nobody at its other end
                continue
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line.decode("utf-8", "replace").strip("\r")


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run a command and return its answer; one that takes too long is ended with all that it has started."""
    try:
        process = subprocess.Popen(
            request["words"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        return {"id": request["id"], "status": 127, "out": "", "err": str(error)}
    try:
        out, err = process.communicate(request["input"], timeout=request["seconds"])
        status = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        status, err = TIMED_OUT, f"{err}no end within {request['seconds']:g} s"
    return {"id": request["id"], "status": status, "out": out, "err": err}


class VMConsoles:
    """dom0's ends of the consoles of VMs; what comes from there goes to *outside*."""

    def __init__(self, outside: Line) -> None:
        self._outside = outside
        self._lines: dict[int, Line] = {}

    def send(self, domid: int, request: dict[str, Any]) -> None:
        """Pass a request on to a VM. The first opens its console; it may have no ``words``."""
        if domid not in self._lines:
            command = ["xenstore-read", f"/local/domain/{domid}/console/tty"]
            path = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
            self._lines[domid] = Line(path)
            threading.Thread(target=self._listen, args=(domid, self._lines[domid]), daemon=True).start()
        if "words" in request:
            self._lines[domid].send("?" + json.dumps(request))

    def _listen(self, domid: int, line: Line) -> None:
        try:
            for said in line.lines():
                if said.startswith("@"):
                    self._outside.send("@" + json.dumps({**json.loads(said[1:]), "domid": domid}))
                else:
                    self._outside.send(f"#{domid} {said}")
        except (OSError, ValueError) as error:  # the VM is gone
            self._outside.send(f"#{domid} console: {error}")
            self._lines.pop(domid, None)


def serve(line: Line, pass_on: Callable[[int, dict[str, Any]], None] | None) -> None:
    """Answer the requests of *line*, each in a thread of its own; those for VMs are given to *pass_on*."""

    def reply(request: dict[str, Any]) -> None:
        try:
            domid = request.pop("domid", None)
            if domid is None or pass_on is None:
                said = run(request)
            else:
                pass_on(domid, request)
                if "words" in request:  # whose answer comes from there
                    return
                said = {"id": request["id"], "status": 0, "out": "", "err": ""}
        except Exception as error:
            said = {"id": request.get("id"), "status": 126, "out": "", "err": f"{type(error).__name__}: {error}"}
        line.send("@" + json.dumps(said))

    line.send('@{"ready": true}')
    for said in line.lines():
        if said.startswith("?"):
            threading.Thread(target=reply, args=(json.loads(said[1:]),), daemon=True).start()


if __name__ == "__main__":
    own = Line(sys.argv[1])
    serve(own, VMConsoles(own).send if sys.argv[2:] == ["dom0"] else None)
