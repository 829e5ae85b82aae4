"""One started handler: whose it is, what it finds, and its three streams, as Qubes core-qrexec makes them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from dataclasses import dataclass

#: As a VM's login shell sets it; the last folder has the lab's own programs.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/bin"
#: Where a VM that is only a folder has the programs that may be run for it.
_FOLDER_PATH = "{0}/opt/bin:{0}/usr/local/bin:{0}/programs"
_SHELL_FAILED = 127


@dataclass(frozen=True, slots=True)
class Who:
    """A user of the VM."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str
    groups: tuple[int, ...] = ()

    @classmethod
    def find(cls, name: str, root: str = "") -> Who | None:
        """Return the user *name* of the machine below *root*, None if it has none."""
        for entry in _entries(f"{root}/etc/passwd", 7):
            if entry[0] == name:
                groups = [int(g[2]) for g in _entries(f"{root}/etc/group", 4) if name in g[3].split(",")]
                return cls(name, int(entry[2]), int(entry[3]), entry[5], entry[6], (int(entry[3]), *groups))
        return None


def _entries(path: str, fields: int) -> list[list[str]]:
    with open(path) as file:
        return [entry for line in file if len(entry := line.rstrip("\n").split(":")) == fields]


def _is_mapped(uid: int) -> bool:
    """Whether there is such a user at all: a lab that not root has brought up has just one."""
    with open("/proc/self/uid_map") as file:
        ranges = [tuple(map(int, line.split())) for line in file]
    return any(inside <= uid < inside + count for inside, _, count in ranges)


class Handler:
    """The program *argv* run by *who*. A VM that is only the folder *root* has no users: they are who runs the lab."""

    def __init__(self, who: Who, argv: list[str], variables: dict[str, str], root: str) -> None:
        self.stdin, self._theirs_in = socket.socketpair()
        self.stdout, self._theirs_out = socket.socketpair()
        self.stderr, self._theirs_err = os.pipe()
        self._parted, self._part = os.pipe()
        self._who, self._argv, self._root = who, argv, root
        self._home = f"{root}{who.home}"
        path = _FOLDER_PATH.format(root) if root else _PATH
        self._environment = {"PATH": path, "HOME": self._home, "SHELL": who.shell, "USER": who.name,
                             "LOGNAME": who.name, "LANG": "C.UTF-8", **variables}  # fmt: skip
        if os.path.isdir(f"{root}/run/user/{who.uid}"):
            self._environment["XDG_RUNTIME_DIR"] = f"/run/user/{who.uid}"
        self._pid = 0

    def start(self) -> None:
        """Start it. What it cannot be started for is told by it on its standard error, with status 127 or 125."""
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._become()
            except OSError as error:
                os.write(2, f"qrexec-agent: {error.filename or self._argv[0]}: {error.strerror}\n".encode())
                os._exit(_SHELL_FAILED if isinstance(error, FileNotFoundError) else 125)
        for side in (self._theirs_in, self._theirs_out):
            side.close()
        os.close(self._theirs_err)

    def _become(self) -> None:
        os.setsid()
        os.umask(0o022)
        for number, end in enumerate((self._theirs_in.fileno(), self._theirs_out.fileno(), self._theirs_err)):
            os.dup2(end, number)
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        if not self._root and self._who.uid != os.getuid() and _is_mapped(self._who.uid):
            os.setgroups(self._who.groups)
            os.setgid(self._who.gid)
            os.setuid(self._who.uid)
        try:
            os.chdir(self._home)
        except OSError as error:
            os.write(2, f"qrexec-agent: {self._home}: {error.strerror}\n".encode())
        os.execve(self._argv[0], self._argv, self._environment)

    def part(self) -> None:
        """End its streams as the agent does, in the agent's order; what it writes is an error from then on."""
        for end, how in ((self.stdin, socket.SHUT_WR), (self.stdout, socket.SHUT_RD)):
            with contextlib.suppress(OSError):  # it may have ended them itself
                end.shutdown(how)
        os.close(self._part)

    def copy_messages(self, target: int) -> None:
        """Copy what it says on its standard error, until it has ended that or its streams are ended; close that then.

        A thread that waits in read(2) would keep the pipe open for its writer.
        """
        waiting = select.poll()
        waiting.register(self.stderr, select.POLLIN)
        waiting.register(self._parted, 0)
        with contextlib.suppress(OSError):
            while self._parted not in (ready := dict(waiting.poll())):
                if self.stderr not in ready or not (data := os.read(self.stderr, 65536)):
                    break
                left = memoryview(data)
                while left:
                    left = left[os.write(target, left) :]
        os.close(self.stderr)

    def wait(self) -> int:
        """Return its exit status; 128 and the signal's number for one that was killed."""
        _, state = os.waitpid(self._pid, 0)
        code = os.waitstatus_to_exitcode(state)
        return code if code >= 0 else 128 - code
