"""A lab for tests: brought up, with dom0's programs finding it, and taken down whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lab.control import Lab
from lab.linux.namespaces import DENY
from lab.paths import LabPaths
from tests.support.qubesd import client as client_of
from vminterface.channel.qrexec.client import Qrexec

TWO = ("work", "personal")


@contextlib.contextmanager
def running(
    folder: Path, vms: Sequence[str] = TWO, *, release: str = "R2", screens: bool = False, namespaces: bool = True
) -> Iterator[Lab]:
    """Yield a lab with *vms* that is up; this process is its dom0 meanwhile."""
    listed = folder / "vms.json"
    listed.write_text(json.dumps([{"name": name} for name in vms]))
    lab = Lab(LabPaths.find(str(folder / "l")))
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        try:
            with pytest.MonkeyPatch.context() as meanwhile:
                if not namespaces:
                    meanwhile.setenv(DENY, "1")
                lab.up(listed, release=release, screens=screens)
            for name, value in lab.environment().items():
                patch.setenv(name, value)
            if release == "R4":
                stack.enter_context(client_of(lab.paths.qubesd))
            yield lab
        finally:
            lab.down()


def qrexec(lab: Lab) -> Qrexec:
    """Return the way to services in the VMs of *lab*."""
    return Qrexec(str(lab.paths.programs / "qrexec-client"))


def handler(lab: Lab, vm: str, service: str, script: str, folder: str = "/usr/local/etc/qubes-rpc") -> Path:
    """Let *vm* answer *service* by a shell script in *folder* of its own; return the file."""
    return file(lab, vm, f"{folder}/{service}", f"#!/bin/sh\n{script}\n", 0o755)


def file(lab: Lab, vm: str, path: str, text: str, mode: int = 0o644) -> Path:
    """Let *vm* have a file."""
    place = lab.paths.root(vm) / path.replace("/usr/local/", "/rw/usrlocal/").lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    place.chmod(mode)
    return place


def client(lab: Lab, *words: str, data: bytes = b"", seconds: float = 20.0) -> tuple[int, bytes, str]:
    """Run dom0's calling program; return its exit status and what it said."""
    done = subprocess.run(
        [str(lab.paths.programs / "qrexec-client"), *words], input=data, capture_output=True, timeout=seconds,
        check=False, env=dict(os.environ),
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr.decode()
