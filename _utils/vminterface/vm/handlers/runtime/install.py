"""Install the handlers for the qrexec agent, and remove those that are no longer shipped: only our own files.

A service is two files, its program and its configuration, which belong to whoever wrote the program. Those that are
the distribution's are left alone, unless they are to be replaced; then they are kept, and come back with the end of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

import vminterface
from vminterface.errors import VMInterfaceError
from vminterface.vm.handlers.runtime.entry import CONFIGURATIONS, FORMER_MARKS, MARK, PROGRAMS, configuration, entry
from vminterface.vm.handlers.runtime.table import SERVICES
from vminterface.vm.machine.controldomain import in_a_vm, require_vm
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.protection import is_protected

#: Where what was replaced is kept: below /etc as the services are, so that a template hands on both or none, and not
#: beside them, where each would be a service of its own.
REPLACED = "/etc/vminterface/replaced"
LIBRARY = os.path.dirname(os.path.dirname(os.path.abspath(vminterface.__file__)))

_FOLDERS = (PROGRAMS, CONFIGURATIONS)
#: Where the qrexec agent looks for a service's program before it does in PROGRAMS (Qubes core-qrexec, exec.c).
_BEFORE = ("/run/qubes-rpc", "/usr/local/etc/qubes-rpc")
_LIMIT = 4096
_MODE = 0o755


@dataclass(frozen=True, slots=True)
class Installation:
    """What was done, or would be: by service, ``installed``, ``updated``, ``replaced``, ``removed`` or ``restored``."""

    changes: dict[str, str]
    #: Those of ours that the VM has handlers of its own for.
    left: list[str]

    def comment(self, *, test: bool = False) -> str:
        """Return one sentence for the admin."""
        counts = [
            f"{count} {'would be ' if test else ''}{what}"
            for what in sorted(set(self.changes.values()))
            if (count := sum(done == what for done in self.changes.values()))
        ]
        if self.left:
            counts.append(f"{len(self.left)} left as the VM has them")
        return f"service handlers: {', '.join(counts) or 'up to date'}"


def install(
    machine: Files, *, python: str, library: str = LIBRARY, replace: bool = False, test: bool = False
) -> Installation:
    """Let *machine* answer the services of the table by programs that *python* runs with *library*.

    What is not ours stays, unless *replace*; what an admin has protected stays in any case. *test* changes nothing.
    Raises ControlDomain in dom0, VMInterfaceError where a file cannot be read or written.
    """
    require_vm(machine, "vminterface handlers", in_a_vm("vminterface.handlers"))
    own = [name for name in SERVICES if _is_free(machine, name, replace)]
    changes = {}
    for name in own:
        desired = (entry(name, library, python), configuration(SERVICES[name]))
        if not _is_ours(machine, name):
            there = any(_is_there(machine, f"{folder}/{name}") for folder in _FOLDERS)
            changes[name] = "replaced" if there and not _is_left_over(machine, name) else "installed"
        elif not _has(machine, name, desired):
            changes[name] = "updated"
        if name in changes and not test:
            if changes[name] != "updated":
                _keep(machine, name)
            _write(machine, name, desired, fresh=changes[name] != "updated")
    changes.update(_withdraw(machine, own, test=test))
    return Installation(changes, [name for name in SERVICES if name not in own])


def remove(machine: Files, *, test: bool = False) -> Installation:
    """Take all handlers of ours away and put back what they had replaced. *test* changes nothing."""
    done = Installation(_withdraw(machine, (), test=test), [])
    if not test:
        for folder in (*(_replaced(folder, "") for folder in _FOLDERS), REPLACED, *_FOLDERS):
            machine.remove_empty_folder(folder.rstrip("/"))
        for folder in (REPLACED, CONFIGURATIONS):
            machine.remove_empty_folder(os.path.dirname(folder))
    return done


def foreign(machine: Files, service: str) -> str | None:
    """Return the path of the program that answers *service* here if it is not ours, None if it is or there is none."""
    for name in dict.fromkeys((service, service.partition("+")[0])):
        for folder in (*_BEFORE, PROGRAMS):
            if _is_there(machine, f"{folder}/{name}"):
                return None if _is_ours(machine, name, folder) else f"{folder}/{name}"
    return None


def _withdraw(machine: Files, own: Iterable[str], *, test: bool) -> dict[str, str]:
    """Remove what is ours and not among *own*: whole services, and configurations below a program of somebody else."""
    changes = {}
    there = {name for folder in _FOLDERS for name in machine.names(_replaced(folder, ""))}.union(
        machine.names(PROGRAMS)
    )
    for name in sorted(there.difference(own)):
        if _is_protected(machine, name):
            continue
        replaced = [folder for folder in _FOLDERS if _is_there(machine, _replaced(folder, name))]
        if _is_ours(machine, name):
            changes[name] = "restored" if replaced else "removed"
            folders: tuple[str, ...] = _FOLDERS
        elif replaced and _is_half_ours(machine, name):
            changes[name] = "restored"
            folders = (CONFIGURATIONS,)
        else:
            continue
        if not test:
            # The configuration first: a program without it runs as a user, never a stranger as root. What is kept goes
            # last: should this be cut short, it is done again.
            for folder in reversed(folders):
                if folder in replaced:
                    machine.copy(_replaced(folder, name), f"{folder}/{name}")
                else:
                    machine.remove(f"{folder}/{name}")
            for folder in replaced:
                machine.remove(_replaced(folder, name))
    return changes


def _is_free(machine: Files, name: str, replace: bool) -> bool:
    """Whether the service *name* is ours to answer: the VM has no handler for it, or it is to be replaced."""
    if _is_protected(machine, name):
        return False
    # A row NAME+ARG would change what a NAME that is not ours does.
    return replace or not any(_is_others(machine, one) for one in {name, name.partition("+")[0]})


def _is_others(machine: Files, name: str) -> bool:
    if _is_ours(machine, name):
        return any(_is_there(machine, _replaced(folder, name)) for folder in _FOLDERS)
    return any(_is_there(machine, f"{folder}/{name}") for folder in _FOLDERS) and not _is_left_over(machine, name)


def _is_ours(machine: Files, name: str, folder: str = PROGRAMS) -> bool:
    path = f"{folder}/{name}"
    if machine.link_target(path) is not None or not machine.is_file(path):
        return False
    try:
        program = machine.read_text(path, limit=_LIMIT) or ""
    except VMInterfaceError:
        # Longer than any of ours, or not to be read.
        return False
    return any(mark in program for mark in (MARK, *FORMER_MARKS))


def _is_left_over(machine: Files, name: str) -> bool:
    """Whether there is nothing but our configuration, as after a step that was cut short."""
    return not _is_there(machine, f"{PROGRAMS}/{name}") and _is_configuration_of_ours(machine, name)


def _is_half_ours(machine: Files, name: str) -> bool:
    """Whether the program is somebody else's and the configuration is as ours is.

    So it is when an installation was cut short, and where a package has put its program back and not the other file.
    """
    path = f"{CONFIGURATIONS}/{name}"
    if name not in SERVICES or not _is_there(machine, f"{PROGRAMS}/{name}") or _is_ours(machine, name):
        return False
    if not configuration(SERVICES[name]):
        return not _is_there(machine, path) and _is_there(machine, _replaced(CONFIGURATIONS, name))
    return _is_configuration_of_ours(machine, name)


def _is_configuration_of_ours(machine: Files, name: str) -> bool:
    """Whether there is a configuration with our text: the distribution's may have the same."""
    path = f"{CONFIGURATIONS}/{name}"
    if machine.link_target(path) is not None or not machine.is_file(path):
        return False
    try:
        return machine.read_text(path, limit=_LIMIT) == configuration(SERVICES[name])
    except VMInterfaceError:
        return False


def _is_protected(machine: Files, name: str) -> bool:
    return any(is_protected(machine, f"{folder}/{name}") for folder in _FOLDERS)


def _is_there(machine: Files, path: str) -> bool:
    # A service may be a link to /dev/tcp/..., which leads nowhere.
    return machine.link_target(path) is not None or machine.exists(path)


def _has(machine: Files, name: str, desired: tuple[str, str]) -> bool:
    program, text = (f"{folder}/{name}" for folder in _FOLDERS)
    mode = stat.S_IMODE(os.stat(machine.path(program)).st_mode)
    if mode != _MODE or machine.read_text(program) != desired[0] or machine.link_target(text) is not None:
        return False
    return (machine.read_text(text) or "") == desired[1] and machine.exists(text) == bool(desired[1])


def _replaced(folder: str, name: str) -> str:
    return f"{REPLACED}/{os.path.basename(folder)}/{name}"


def _keep(machine: Files, name: str) -> None:
    """Keep what is there and not ours, a copy of it: whenever this is cut short, the VM still has its handler.

    What was kept before gives way to what is newer, and goes with a package that has taken its program away.
    """
    program, text = (f"{folder}/{name}" for folder in _FOLDERS)
    replaced_program, replaced_text = (_replaced(folder, name) for folder in _FOLDERS)
    with_program = _is_there(machine, program)
    # Ours is as the distribution's may be: it is its own only where nothing has been replaced yet.
    before = _is_there(machine, replaced_program) or _is_there(machine, replaced_text)
    ours = _is_configuration_of_ours(machine, name) and (before or not with_program)
    if _is_there(machine, text) and not ours:
        machine.copy(text, replaced_text)
    elif not with_program:
        machine.remove(replaced_text)
    if with_program:
        machine.copy(program, replaced_program)
    else:
        machine.remove(replaced_program)


def _write(machine: Files, name: str, desired: tuple[str, str], *, fresh: bool) -> None:
    # The configuration first: a program without it would run as whom it should not.
    program, text = (f"{folder}/{name}" for folder in _FOLDERS)
    if desired[1]:
        machine.write_file(text, desired[1], 0o644, fresh=fresh)
    else:
        machine.remove(text)
    machine.write_file(program, desired[0], _MODE, fresh=fresh)
    os.chmod(machine.path(program), _MODE)  # one that was there has kept its own
