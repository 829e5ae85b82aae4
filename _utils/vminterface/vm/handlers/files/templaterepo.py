"""dnf with the repositories of dom0: in a folder of its own, for one call.

Source: Qubes core-agent-linux ``qvm-template-repo-query``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence

from vminterface.errors import ProgramMissing, VMInterfaceError
from vminterface.values.templaterequest import KEYS, LIMIT, TemplateRequest
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.machine.machine import Machine

PROGRAMS = ("dnf5", "dnf", "dnf4")
_FILE = "template.repo"


class Dnf:
    """dnf, as it is to be run for *request*."""

    def __init__(self, machine: Machine, request: TemplateRequest, folder: str) -> None:
        found = next(filter(None, map(machine.which, PROGRAMS)), None)
        if found is None:
            raise ProgramMissing("dnf is not installed (needed to search templates; expected dnf5)")
        self.machine = machine
        self._program = found
        #: Whether it is the fifth, which has other words in places.
        self.is_fifth = os.path.basename(os.path.realpath(found)) == "dnf5"
        self._options = ["-y", "--quiet", f"--setopt=reposdir={folder}"]
        self._options += [f"--{option}={name}" for option, name in request.repositories]
        self._options += [f"--releasever={request.release}"] if request.release else []
        self._options += ["--refresh"] if request.refresh else []
        self._spec = request.spec

    def run(self, command: str, words: Sequence[str], *, timeout: float, limit: int) -> bytes:
        """Return the output of *command* with *words* about the package. Raises as :meth:`Machine.run`."""
        argv = [self._program, command, *self._options, *words, self._spec]
        return self.machine.run(argv, timeout=timeout, limit=limit)

    def knows(self, command: str, option: str, *, timeout: float) -> bool:
        """Whether *command* has *option*."""
        try:
            said = self.machine.run([self._program, command, "--help"], timeout=timeout)
        except VMInterfaceError:
            return False
        return option.encode("ascii") in said


@contextlib.contextmanager
def received(call: Call, timeout: float) -> Iterator[Dnf]:
    """Read the request and give dnf for it; its files are gone at the end. Raises InvalidValue, ProgramMissing."""
    request = TemplateRequest.parse(call.read_all(LIMIT, timeout=timeout))
    folder = tempfile.mkdtemp(prefix="vminterface-template-")
    try:
        os.mkdir(f"{folder}/keys", 0o700)
        for name, key in request.keys.items():
            with open(f"{folder}/keys/{name}", "xb") as file:
                file.write(key)
        path = f"{folder}/{_FILE}"
        with open(path, "x", encoding="utf-8", errors="surrogateescape") as config:
            config.write(request.config.replace(KEYS, f"{folder}/keys/"))
        # dnf fetches everything anew for a repository whose file is younger than what it has of it.
        os.utime(path, (1, 1))
        yield Dnf(call.machine, request, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
