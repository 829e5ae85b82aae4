"""Keeps a Python with Salt's modules imported, from which each ``salt-call`` in dom0 is forked.

To import Salt takes an emulated dom0 longer than much of what Salt does then. What is forked is Salt's own command,
with the caller's arguments, environment, folder and streams, in a process of its own. It shares nothing with the runs
before it but imported modules: configuration, pillar, grains and all that Salt's loader loads are read anew. Where this
does not run, ``salt-call`` starts cold.

A caller connects to the socket and sends, with its three streams, a JSON object with ``words``, ``environment`` and
``folder``; the answer is the exit status in decimal digits. If the caller goes before that, what it started is ended.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import sys
from pathlib import Path

SOCKET, PID_FILE = "/run/warm-salt", Path("/run/warm-salt.pid")
#: Where Salt is, and the list of modules that a run imports.
SITE, IMPORTS = "/mnt/site", Path("/mnt/imports")
LOG = "/var/log/warm-salt.log"
_REQUEST_BYTES = 1 << 20


def serve() -> None:
    """Import; then, in the background, fork for each caller."""
    sys.path.append(SITE)
    for name in IMPORTS.read_text().split():
        with contextlib.suppress(ImportError):  # one that only the builder's Python has
            importlib.import_module(name)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SOCKET)
    listener.bind(SOCKET)
    listener.listen(8)
    if server := os.fork():
        PID_FILE.write_text(f"{server}\n")
        return
    os.setsid()
    for number, path in enumerate((os.devnull, os.devnull, LOG)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), number)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks for their status
    while True:
        caller, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                _accompany(caller)
            finally:
                os._exit(1)
        caller.close()


def _accompany(caller: socket.socket) -> None:
    """Start what *caller* asks for, and give it the exit status, or end it with its caller."""
    data, streams, _, _ = socket.recv_fds(caller, _REQUEST_BYTES, 3)
    request = json.loads(data)
    child = os.fork()
    if child == 0:
        caller.close()
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        _run(request["words"], request["environment"], request["folder"])
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(child)
    readable, _, _ = select.select([caller.fileno(), ended], [], [])
    if ended not in readable:
        os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):
        caller.send(b"%d" % max(os.waitstatus_to_exitcode(status), -1))
    os._exit(0)


def _run(words: list[str], environment: dict[str, str], folder: str) -> None:
    """Be ``salt-call``. Does not return."""
    salt_call = importlib.import_module("salt.scripts").salt_call
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    # The first process's streams, of which the interpreter holds its own objects.
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(os.dup(n), mode) for n, mode in ((0, "r"), (1, "w"), (2, "w")))
    sys.argv = words
    status = 1
    try:
        status = salt_call() or 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
