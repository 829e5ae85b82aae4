"""A typed call for each Qubes RPC service that dom0 has in its VMs: one subject a file, read at its first use."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # What the Salt modules use, for the type checker; at run time __getattr__ reads a file when it is used.
    from vminterface.dom0.services import (  # noqa: F401
        appmenus,
        apps,
        backup,
        backuplocation,
        clock,
        commands,
        dialogs,
        disk,
        files,
        gui,
        images,
        monitors,
        pci,
        postinstall,
        readiness,
        session,
        suspend,
        templates,
        terminals,
        timesync,
        tools,
    )


def __getattr__(name: str) -> ModuleType:
    """Return the file *name* of this folder: what a Salt module reads of them costs every run of salt-call."""
    try:
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        raise AttributeError(f"{__name__} has no file {name}") from None
