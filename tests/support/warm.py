"""Programs of the library and the lab as processes of their own that start in a tenth of the time.

Most of a start is the loading of modules, thousands of times in all tests. One process has loaded them, does nothing
else, and forks: what comes of it has its own memory, streams, environment and end, and is waited for as others are.
What tests the start itself, a terminal, the locale, or other code than this tree's starts a Python of its own.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.warmserver import CLONE

PROJECT = Path(__file__).resolve().parents[2]
LIBRARY = str(PROJECT / "_utils")
_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([LIBRARY, str(PROJECT)])}
#: What Python and the linker read of it before any program runs; where it differs, a new Python has to start.
_READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_")


class WarmPython(subprocess.Popen[Any]):
    """``python -m WORDS`` with the environment *env*; *isolated*: in a network of its own, as by ``unshare -rn``."""

    def __init__(self, words: Sequence[str], *, env: Mapping[str, str], isolated: bool = False, **more: Any) -> None:
        self._words, self._isolated = words, isolated
        unshare = ["unshare", "-rn"] if isolated else []
        super().__init__([*unshare, sys.executable, "-m", *words], env=env, **more)

    def _execute_child(
        self, args: Any, executable: Any, preexec_fn: Any, close_fds: Any, pass_fds: Any, cwd: Any, env: Any,
        startupinfo: Any, creationflags: Any, shell: Any, p2cread: int, p2cwrite: int, c2pread: int, c2pwrite: int,
        errread: int, errwrite: int, restore_signals: Any, gid: Any, gids: Any, uid: Any, umask: Any,
        start_new_session: bool, *more: Any,
    ) -> None:  # fmt: skip
        """Have the process made by the one that is warm, where that makes no difference."""
        pipes = (p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)
        if preexec_fn or pass_fds or not _is_as_warm(env):
            super()._execute_child(  # type: ignore[misc]
                args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell, *pipes,
                restore_signals, gid, gids, uid, umask, start_new_session, *more,
            )  # fmt: skip
            return
        wanted = {
            "words": list(self._words),
            "environment": dict(env),
            "folder": os.fspath(cwd) if cwd else os.getcwd(),
            "new_session": start_new_session,
            "isolated": self._isolated,
        }
        streams = [given if given != -1 else own for own, given in enumerate((p2cread, c2pwrite, errwrite))]
        server = _server()
        socket.send_fds(server, [json.dumps(wanted).encode()], streams)
        self.pid = int(server.recv(32))
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def run(
    words: Sequence[str], *, env: Mapping[str, str], timeout: float, input: Any = None, **more: Any
) -> subprocess.CompletedProcess[Any]:
    """Run ``python -m WORDS`` to its end, as :func:`subprocess.run` does with captured output."""
    given: dict[str, Any] = {"stdin": subprocess.PIPE} if input is not None else {}
    with WarmPython(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **given, **more) as process:
        try:
            stdout, stderr = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def _is_as_warm(env: Mapping[str, str]) -> bool:
    def read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
        return {
            name: value
            for name, value in environment.items()
            if name.startswith(_READ_AT_START) and name != "PYTHONPATH"
        }

    first = env.get("PYTHONPATH", "").partition(os.pathsep)[0]
    same_code = first in (LIBRARY, str(PROJECT))
    return platform.machine() in CLONE and same_code and read_at_start(env) == read_at_start(_ENVIRONMENT)


@functools.cache
def _server() -> socket.socket:
    """Return the socket of this process's warm one, which ends when that is closed."""
    own, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    own.settimeout(60.0)
    with its:
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.warmserver", str(its.fileno())],
            env=_ENVIRONMENT, cwd=PROJECT, pass_fds=[its.fileno()],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    return own
