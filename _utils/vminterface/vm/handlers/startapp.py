"""``qubes.StartApp``: start the application of dom0's menu that the user has chosen, and wait for its end.

Argument: the application's id, as ``qubes.GetAppmenus`` lists it. No input, no output: the application's output goes
to the VM's journal. The application lives on where the caller goes. After Qubes core-agent-linux's ``qubes.StartApp``
and ``qubesagent/xdg.py``: applications that no menu shows (``NoDisplay``) are started too, the tray asks for some; an
admin's files in ``/etc/qubes/applications`` override keys; where the session's bus cannot start an application it is
run by its command line. The rest is the freedesktop desktop entry specification 1.5.
"""

from __future__ import annotations

import os

from vminterface.errors import InvalidValue, ProgramMissing, VMInterfaceError, printable
from vminterface.values import execline
from vminterface.vm.handlers.desktop import applications, desktopfile, disposables, run, sessionbus
from vminterface.vm.handlers.desktop.terminal import in_terminal
from vminterface.vm.handlers.runtime import programs
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.machine.machine import Machine

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    from collections.abc import Mapping


def handle(call: Call) -> None:
    """Start it and wait. Raises VMInterfaceError that names what keeps it from being started."""
    id_, machine = call.argument, call.machine
    if not id_:
        raise InvalidValue("needs the id of an application as argument")
    folders = applications.folders(machine, os.environ)
    path = applications.find(folders, id_)
    if path is None:
        looked = ", ".join(machine.shown(folder) for folder in folders)
        raise VMInterfaceError(f"the application {printable(id_, 60)} does not exist (searched {looked})")
    _Application(machine, id_, path).run()


class _Application:
    """The application *id_* of *machine*, whose desktop file is *path*, a place for the system's calls."""

    def __init__(self, machine: Machine, id_: str, path: str) -> None:
        self._machine, self._id, self._path = machine, id_, path
        self._shown = machine.shown(path)
        try:
            self._values = desktopfile.overridden(machine, path)
        except OSError as error:
            raise VMInterfaceError(f"{self._shown}: {error.strerror}") from None

    def run(self) -> None:
        """Start it and wait for its end. Raises VMInterfaceError."""
        if why := desktopfile.problem(self._values, lambda program: self._machine.which(program) is not None):
            raise self._error(why)
        environment = programs.environment()
        in_disposables = disposables.desired(self._machine, self._id)
        if in_disposables:
            disposables.prepare(self._machine, environment)
        # The bus gives it an environment of its own, which would not send files to disposables.
        elif self._values.get(b"DBusActivatable") == desktopfile.TRUE and self._is_activated():
            return
        argv, folder = self._command(environment), self._folder()
        run.run(self._machine, argv, self._id, environment=environment, folder=folder)

    def _is_activated(self) -> bool:
        """Let the session's bus start it, and wait; False if it has to be run by its command line.

        Raises VMInterfaceError where there is none.
        """
        name = os.path.basename(self._path).removesuffix(applications.SUFFIX)
        try:
            process = sessionbus.activate(self._machine, name)
        except VMInterfaceError as error:
            if self._values.get(b"Exec"):
                return False
            raise self._error(f"the session bus does not start it, and it has no Exec: {error}") from None
        run.wait_for(process)
        return True

    def _command(self, environment: Mapping[str, str]) -> list[str]:
        words = desktopfile.words(self._values)
        if not words:
            raise self._error("it has no Exec (needed to open its files in disposables, as dom0 requires)")
        icon = execline.unescape(desktopfile.text(self._values, b"Icon"))
        try:
            argv = execline.fill(words, name=self._name(environment), icon=icon, path=self._path)
        except InvalidValue as error:
            raise self._error(f"Exec: {error}") from None
        program = self._machine.which(argv[0])
        if program is None:
            raise ProgramMissing(f"{self._shown}: the program {printable(argv[0], 80)} is not installed")
        return in_terminal(self._machine, argv) if self._values.get(b"Terminal") == desktopfile.TRUE else argv

    def _name(self, environment: Mapping[str, str]) -> str:
        """Return the application's name in the language of the session."""
        for key in desktopfile.localized(b"Name", environment):
            if name := desktopfile.text(self._values, key):
                return execline.unescape(name)
        return self._id

    def _folder(self) -> str | None:
        path = execline.unescape(desktopfile.text(self._values, b"Path"))
        if not path:
            return None
        if not path.startswith("/") or not self._machine.is_folder(path):
            raise self._error(f"its working folder {printable(path, 80)} (Path) is not a folder")
        return self._machine.path(path)

    def _error(self, why: str) -> VMInterfaceError:
        return VMInterfaceError(f"{self._shown}: {why}")
