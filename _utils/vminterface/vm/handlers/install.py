"""Put the handlers where the qrexec agent looks for them, and take away what is no longer shipped: only our own files.

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
from vminterface.vm.controldomain import in_a_vm, require_vm
from vminterface.vm.handlers.entry import CONFIGURATIONS, MARK, PROGRAMS, configuration, entry
from vminterface.vm.handlers.table import SERVICES
from vminterface.vm.machine import Machine

#: Where what was replaced is kept: below /etc as the services are, so that a template hands on both or none, and not
#: beside them, where each would be a service of its own.
KEPT = "/etc/vminterface/replaced"
LIBRARY = os.path.dirname(os.path.dirname(os.path.abspath(vminterface.__file__)))

_FOLDERS = (PROGRAMS, CONFIGURATIONS)
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
        return f"service handlers: {', '.join(counts) or 'as they should be'}"


def install(
    machine: Machine, *, python: str, library: str = LIBRARY, replace: bool = False, test: bool = False
) -> Installation:
    """Let *machine* answer the services of the table by programs that *python* runs with *library*.

    What is not ours stays, unless *replace*; what an admin has protected stays in any case. *test* only looks. Raises
    ControlDomain in dom0, VMInterfaceError where a file cannot be read or written.
    """
    require_vm(machine, "vminterface handlers", in_a_vm("vminterface.handlers"))
    own = [name for name in SERVICES if _is_free(machine, name, replace)]
    changes = {}
    for name in own:
        wanted = (entry(name, library, python), configuration(SERVICES[name]))
        if not _is_ours(machine, name):
            there = any(_is_there(machine, f"{folder}/{name}") for folder in _FOLDERS)
            changes[name] = "replaced" if there and not _is_left_over(machine, name) else "installed"
        elif not _has(machine, name, wanted):
            changes[name] = "updated"
        if name in changes and not test:
            if changes[name] != "updated":
                _keep(machine, name)
            _write(machine, name, wanted, fresh=changes[name] != "updated")
    changes.update(_withdraw(machine, own, test=test))
    return Installation(changes, [name for name in SERVICES if name not in own])


def remove(machine: Machine, *, test: bool = False) -> Installation:
    """Take all handlers of ours away and put back what they had replaced. *test* only looks."""
    return Installation(_withdraw(machine, (), test=test), [])


def _withdraw(machine: Machine, own: Iterable[str], *, test: bool) -> dict[str, str]:
    """Remove what is ours and not among *own*: whole services, and configurations below a program of somebody else."""
    changes = {}
    there = {name for folder in _FOLDERS for name in machine.names(_kept(folder, ""))}.union(machine.names(PROGRAMS))
    for name in sorted(there.difference(own)):
        if _is_protected(machine, name):
            continue
        kept = [folder for folder in _FOLDERS if _is_there(machine, _kept(folder, name))]
        if _is_ours(machine, name):
            changes[name] = "restored" if kept else "removed"
            folders: tuple[str, ...] = _FOLDERS
        elif kept and _is_half_ours(machine, name):
            changes[name] = "restored"
            folders = (CONFIGURATIONS,)
        else:
            continue
        if not test:
            # The configuration first: a program without it runs as a user, never a stranger as root. What is kept goes
            # last: should this be cut short, it is done again.
            for folder in reversed(folders):
                if folder in kept:
                    machine.copy(_kept(folder, name), f"{folder}/{name}")
                else:
                    machine.remove(f"{folder}/{name}")
            for folder in kept:
                machine.remove(_kept(folder, name))
    return changes


def _is_free(machine: Machine, name: str, replace: bool) -> bool:
    """Whether the service *name* is ours to answer: the VM has no handler for it, or it is to be replaced."""
    if _is_protected(machine, name):
        return False
    # A row NAME+ARG would change what a NAME that is not ours does.
    return replace or not any(_is_others(machine, one) for one in {name, name.partition("+")[0]})


def _is_others(machine: Machine, name: str) -> bool:
    if _is_ours(machine, name):
        return any(_is_there(machine, _kept(folder, name)) for folder in _FOLDERS)
    return any(_is_there(machine, f"{folder}/{name}") for folder in _FOLDERS) and not _is_left_over(machine, name)


def _is_ours(machine: Machine, name: str) -> bool:
    path = f"{PROGRAMS}/{name}"
    if machine.link_target(path) is not None or not machine.is_file(path):
        return False
    try:
        return MARK in (machine.read_text(path, limit=_LIMIT) or "")
    except VMInterfaceError:
        # Longer than any of ours, or not to be read.
        return False


def _is_left_over(machine: Machine, name: str) -> bool:
    """Whether there is nothing but our configuration, as after a step that was cut short."""
    return not _is_there(machine, f"{PROGRAMS}/{name}") and _is_configuration_of_ours(machine, name)


def _is_half_ours(machine: Machine, name: str) -> bool:
    """Whether the program is somebody else's and the configuration is as ours is.

    So it is when an installation was cut short, and where a package has put its program back and not the other file.
    """
    path = f"{CONFIGURATIONS}/{name}"
    if name not in SERVICES or not _is_there(machine, f"{PROGRAMS}/{name}") or _is_ours(machine, name):
        return False
    if not configuration(SERVICES[name]):
        return not _is_there(machine, path) and _is_there(machine, _kept(CONFIGURATIONS, name))
    return _is_configuration_of_ours(machine, name)


def _is_configuration_of_ours(machine: Machine, name: str) -> bool:
    """Whether there is a configuration with our text: the distribution's may have the same."""
    path = f"{CONFIGURATIONS}/{name}"
    if machine.link_target(path) is not None or not machine.is_file(path):
        return False
    try:
        return machine.read_text(path, limit=_LIMIT) == configuration(SERVICES[name])
    except VMInterfaceError:
        return False


def _is_protected(machine: Machine, name: str) -> bool:
    return any(machine.is_protected(f"{folder}/{name}") for folder in _FOLDERS)


def _is_there(machine: Machine, path: str) -> bool:
    # A service may be a link to /dev/tcp/..., which leads nowhere.
    return machine.link_target(path) is not None or machine.exists(path)


def _has(machine: Machine, name: str, wanted: tuple[str, str]) -> bool:
    program, text = (f"{folder}/{name}" for folder in _FOLDERS)
    mode = stat.S_IMODE(os.stat(machine.path(program)).st_mode)
    if mode != _MODE or machine.read_text(program) != wanted[0] or machine.link_target(text) is not None:
        return False
    return (machine.read_text(text) or "") == wanted[1] and machine.exists(text) == bool(wanted[1])


def _kept(folder: str, name: str) -> str:
    return f"{KEPT}/{os.path.basename(folder)}/{name}"


def _keep(machine: Machine, name: str) -> None:
    """Keep what is there and not ours, a copy of it: whenever this is cut short, the VM still has its handler.

    What was kept before gives way to what is newer, and goes with a package that has taken its program away.
    """
    program, text = (f"{folder}/{name}" for folder in _FOLDERS)
    kept_program, kept_text = (_kept(folder, name) for folder in _FOLDERS)
    with_program = _is_there(machine, program)
    # Ours is as the distribution's may be: it is its own only where nothing has been replaced yet.
    before = _is_there(machine, kept_program) or _is_there(machine, kept_text)
    ours = _is_configuration_of_ours(machine, name) and (before or not with_program)
    if _is_there(machine, text) and not ours:
        machine.copy(text, kept_text)
    elif not with_program:
        machine.remove(kept_text)
    if with_program:
        machine.copy(program, kept_program)
    else:
        machine.remove(kept_program)


def _write(machine: Machine, name: str, wanted: tuple[str, str], *, fresh: bool) -> None:
    # The configuration first: a program without it would run as whom it should not.
    program, text = (f"{folder}/{name}" for folder in _FOLDERS)
    if wanted[1]:
        machine.write_file(text, wanted[1], 0o644, fresh=fresh)
    else:
        machine.remove(text)
    machine.write_file(program, wanted[0], _MODE, fresh=fresh)
    os.chmod(machine.path(program), _MODE)  # one that was there has kept its own
