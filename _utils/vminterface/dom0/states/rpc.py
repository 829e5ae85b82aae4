"""States about Qubes RPC services: look at a VM and do what that shows to be missing; in *test*, only look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vminterface.channel.qrexec import Qrexec
from vminterface.dom0 import returns, settings
from vminterface.dom0.arguments import flag, text
from vminterface.dom0.steps import clocks, display, files, programs, storage
from vminterface.dom0.steps.step import Step
from vminterface.errors import VMInterfaceError
from vminterface.values.guimode import GuiMode
from vminterface.values.volume import parse_size

State = dict[str, Any]


def all_monitors(name: str, pillar: Any, *, source: str, state_id: str, test: bool) -> State:
    """Give every VM of *pillar* its monitors; *state_id* is what the VMs' own lines start with.

    *source* says in errors where the pillar comes from.
    """
    try:
        # The push has parsed all of the pillar already; most have no monitors.
        some = settings.mentions(pillar, "monitors", source=source)
        wanted = settings.parse_pillar(pillar, source=source) if some else []
        outcomes = display.all_monitors(Qrexec(), wanted, test=test)
    except VMInterfaceError as error:
        return returns.failure(name, error)
    return returns.state_of_all(name, outcomes, test=test, state_id=state_id, function=("qubes_rpc", "monitor_layout"))


def monitor_layout(name: Any, monitors: Any, *, test: bool) -> State:
    """See :func:`display.monitor_layout`; *monitors* as in the pillar."""
    return _brought(
        name, test, lambda qrexec: display.monitor_layout(qrexec, text(name, "name"), display.wanted(monitors))
    )


def clock_set(name: Any, *, test: bool) -> State:
    """See :func:`clocks.clock_set`."""
    return _brought(name, test, lambda qrexec: clocks.clock_set(qrexec, text(name, "name")))


def gui_mode(name: Any, mode: Any, *, test: bool) -> State:
    """See :func:`display.gui_mode`."""
    return _brought(
        name, test, lambda qrexec: display.gui_mode(qrexec, text(name, "name"), GuiMode.parse(text(mode, "mode")))
    )


def file_sent(name: Any, vm: Any, *, replace: Any, allow_all_names: Any, test: bool) -> State:
    """See :func:`files.file_sent`; *name* is the path."""
    return _brought(
        name,
        test,
        lambda qrexec: files.file_sent(
            qrexec,
            text(vm, "vm"),
            text(name, "name"),
            replace=flag(replace, "replace"),
            allow_all_names=flag(allow_all_names, "allow_all_names"),
        ),
    )


def command_run(name: Any, vm: Any, *, unless: Any, onlyif: Any, root: Any, timeout: Any, test: bool) -> State:
    """See :func:`programs.command_run`; *name* is the command."""
    return _brought(
        name,
        test,
        lambda qrexec: programs.command_run(
            qrexec,
            text(vm, "vm"),
            text(name, "name"),
            unless=None if unless is None else text(unless, "unless_in_vm"),
            onlyif=None if onlyif is None else text(onlyif, "onlyif_in_vm"),
            root=flag(root, "root"),
            timeout=timeout,
        ),
    )


def handler_installed(name: Any, vm: Any, source: Any, folder: Any, *, test: bool) -> State:
    """See :func:`programs.handler_installed`; *name* is the service, *source* the path of the program."""
    return _brought(
        name,
        test,
        lambda qrexec: programs.handler_installed(
            qrexec,
            text(vm, "vm"),
            text(name, "name"),
            programs.read_handler(text(source, "source")),
            folder=text(folder, "folder"),
        ),
    )


def backup_made(name: Any, vm: Any, location: Any, *, test: bool) -> State:
    """See :func:`storage.backup_made`; *name* is the path of the backup."""
    return _brought(
        name,
        test,
        lambda qrexec: storage.backup_made(qrexec, text(vm, "vm"), text(name, "name"), text(location, "location")),
    )


def disk_resized(name: Any, device: Any, size: Any, *, test: bool) -> State:
    """See :func:`storage.disk_resized`; *size* is a number of bytes or text such as ``20GiB``."""

    def look(qrexec: Qrexec) -> Step:
        bytes_ = None if size is None else parse_size(size)
        return storage.disk_resized(qrexec, text(name, "name"), device=text(device, "device"), size=bytes_)

    return _brought(name, test, look)


def _brought(name: Any, test: bool, look: Callable[[Qrexec], Step]) -> State:
    """Do what *look* finds to be done."""
    try:
        return returns.state_of_step(name, look(Qrexec()), test=test)
    except VMInterfaceError as error:
        return returns.failure(name, error)
