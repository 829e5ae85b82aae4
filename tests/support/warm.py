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
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from lab.paths import PROJECT
from tests.support.warmserver import CLONE

LIBRARY = str(PROJECT / "_utils")
#: Names the Python of handlers where coverage is measured (tools/coverage); each program is then started by itself.
MEASURED = "HANDLER_PYTHON"
_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([LIBRARY, str(PROJECT)])}
#: Variables of the locale and of the linker, which Python and others read before any program runs.
_LOCALE = ("LC_", "LANG", "LD_")
#: Tests start programs from several threads, and each reply is to the request before it.
_ONE_AT_A_TIME = threading.Lock()


class WarmPython(subprocess.Popen[Any]):
    """``python -m WORDS`` with the environment *env*; *isolated*: in a network of its own, as by ``unshare -rn``.

    *handler*: the first word is the program of a handler, such as ``vminterface handlers install`` writes.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        env: Mapping[str, str],
        isolated: bool = False,
        handler: bool = False,
        **more: Any,
    ) -> None:
        self._words, self._isolated, self._handler = words, isolated, handler
        before = [*(["unshare", "-rn"] if isolated else []), *([] if handler else [sys.executable, "-m"])]
        super().__init__([*before, *words], env=env, **more)

    def _execute_child(
        self, args: Any, executable: Any, preexec_fn: Any, close_fds: Any, pass_fds: Any, cwd: Any, env: Any,
        startupinfo: Any, creationflags: Any, shell: Any, p2cread: int, p2cwrite: int, c2pread: int, c2pwrite: int,
        errread: int, errwrite: int, restore_signals: Any, gid: Any, gids: Any, uid: Any, umask: Any,
        start_new_session: bool, *more: Any,
    ) -> None:  # fmt: skip
        """Have the process made by the one that is warm, where that makes no difference."""
        pipes = (p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)
        if preexec_fn or pass_fds or not _is_as_warm(env, self._handler):
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
            "handler": self._handler,
        }
        streams = [given if given != -1 else own for own, given in enumerate((p2cread, c2pwrite, errwrite))]
        with _ONE_AT_A_TIME:
            server = _server_of(os.getpid())
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


def _is_as_warm(env: Mapping[str, str], handler: bool) -> bool:
    """Whether a new Python would find the same code, and read the same when it starts; and no coverage is measured."""
    if platform.machine() not in CLONE or os.environ.get(MEASURED):
        return False
    if handler:
        # It reads nothing of Python's variables, and without a locale it takes UTF-8 as the warm one does.
        return sys.getfilesystemencoding() == "utf-8" and not any(name.startswith(_LOCALE) for name in env)
    first = env.get("PYTHONPATH", "").partition(os.pathsep)[0]
    return first in (LIBRARY, str(PROJECT)) and _read_at_start(env) == _read_at_start(_ENVIRONMENT)


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    names = [name for name in environment if name.startswith((*_LOCALE, "PYTHON")) and name != "PYTHONPATH"]
    return {name: environment[name] for name in names}


@functools.cache
def _server_of(pid: int) -> socket.socket:
    """Return the socket of the warm process of the one called *pid*, this; it ends when that is closed.

    A fork of this process has another one: a program's parent is who has started the warm process.
    """
    own, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    own.settimeout(60.0)
    with its:
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.warmserver", str(its.fileno())],
            env={name: value for name, value in _ENVIRONMENT.items() if name != "PYTHONUNBUFFERED"},
            cwd=PROJECT, pass_fds=[its.fileno()],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    return own
