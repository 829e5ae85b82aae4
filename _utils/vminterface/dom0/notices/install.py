"""Install the programs that serve VMs' calls for dom0's qrexec, or remove them: only our own files."""

from __future__ import annotations

import contextlib
import os

from vminterface.channel import adminapi
from vminterface.dom0.notices.services import SERVICES
from vminterface.dom0.transfer.wholefile import FileError, write_whole
from vminterface.errors import VMInterfaceError

PROGRAMS = "/etc/qubes-rpc"
_MARK = "# Installed by vminterface notices install.\n"
#: The note about a service that has a program of another origin.
LEFT = "left unchanged"
_MODE = 0o755
_LIMIT = 4096


def install(command: str, folder: str = PROGRAMS, *, test: bool = False) -> dict[str, str]:
    """Let dom0 answer by *command*, the program ``vminterface``; return what was done, in *test* would be, by service.

    A service that has a program of somebody else's keeps it. Raises FileError, VMInterfaceError where qubesd answers.
    """
    if adminapi.expected():
        raise VMInterfaceError(f"this host has a qubesd, which itself serves {', '.join(SERVICES)}")
    changes = {}
    for service in SERVICES:
        path, desired = f"{folder}/{service}", f"#!/bin/sh\n{_MARK}exec '{command}' notices answer {service}\n"
        there = _read(path)
        if there is not None and _MARK not in there:
            changes[service] = LEFT
        elif there != desired or not os.access(path, os.X_OK):
            changes[service] = "installed" if there is None else "updated"
            if not test:
                _make(folder)
                write_whole(path, [desired.encode()], _MODE)
    return changes


def remove(folder: str = PROGRAMS) -> dict[str, str]:
    """Take our programs away; return what was done, by service. Raises FileError."""
    changes = {}
    for service in SERVICES:
        path = f"{folder}/{service}"
        if _MARK in (_read(path) or ""):
            try:
                os.unlink(path)
            except OSError as error:
                raise FileError.at(path, error) from error
            changes[service] = "removed"
    return changes


def _make(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise FileError.at(folder, error) from error


def _read(path: str) -> str | None:
    """Return what is at *path*, None for nothing, another text than ours for what is no file that can be read."""
    if os.path.islink(path):
        return ""
    with contextlib.suppress(FileNotFoundError):
        try:
            with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
                return file.read(_LIMIT).decode("utf-8", "replace")
        except IsADirectoryError:
            return ""
        except FileNotFoundError:
            raise
        except OSError as error:
            raise FileError.at(path, error) from error
    return None
