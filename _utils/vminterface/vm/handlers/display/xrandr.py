"""The outputs of an X server, by way of the program ``xrandr``: what they show, and one change of all at once."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded, ProgramFailed, VMInterfaceError
from vminterface.regex import regex
from vminterface.values.modeline import Modeline
from vminterface.values.monitor import Monitor
from vminterface.vm.machine.programs import Programs

#: Seconds for making undone what was begun.
UNDO = 5.0
_PAUSE = 0.1  # seconds between two questions to a server that is not up yet

# What xrandr prints: the screen's line; an output's; below it, indented, its properties and modes; at the end, modes
# of no output.
_SCREEN = regex(r"Screen \d+: .* maximum (\d+) x (\d+)")
_OUTPUT = regex(r"(\S+) (?:connected|disconnected|unknown connection)( primary)?(?: (\d+)x(\d+)\+(\d+)\+(\d+))?")
_PROPERTY = regex(r"\t(\S[^:]*): ?(.*)")
_MODE = regex(r"   (\S+) +(.*)")
_LOOSE_MODE = regex(r"  (\S+) \(0x[0-9a-f]+\)")
_SIZES = ("WIDTH_MM", "HEIGHT_MM")


@dataclass(slots=True)
class Output:
    """An output: *geometry* is width, height, x, y in pixels, None if it is off; *mode* is the one that it shows."""

    name: str
    geometry: tuple[int, int, int, int] | None
    primary: bool = False
    mode: str | None = None
    modes: set[str] = field(default_factory=set)
    properties: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Screen:
    """All of a server's outputs, in its order, its modes, and the largest size in pixels that it can have."""

    outputs: list[Output]
    modes: set[str]
    limits: tuple[int, int]

    @classmethod
    def parse(cls, text: str) -> Screen:
        """Read what ``xrandr --prop`` prints."""
        screen = cls([], set(), (0, 0))
        for line in text.splitlines():
            if shown := _OUTPUT.match(line):
                geometry = tuple(map(int, shown.groups()[2:])) if shown[3] else None
                screen.outputs.append(Output(shown[1], geometry, bool(shown[2])))  # type: ignore[arg-type]
            elif shown := _SCREEN.match(line):
                screen.limits = int(shown[1]), int(shown[2])
            elif screen.outputs and (shown := _PROPERTY.match(line)):
                screen.outputs[-1].properties[shown[1]] = shown[2].strip()
            elif screen.outputs and (shown := _MODE.match(line)):
                screen.outputs[-1].modes.add(shown[1])
                screen.modes.add(shown[1])
                if "*" in shown[2]:
                    screen.outputs[-1].mode = shown[1]
            elif shown := _LOOSE_MODE.match(line):
                screen.modes.add(shown[1])
        return screen

    @property
    def monitors(self) -> list[Output]:
        """The outputs to use: those of the driver that VMs have, else all."""
        dummies = [output for output in self.outputs if re.fullmatch(r"DUMMY\d+", output.name)]
        return sorted(dummies, key=lambda output: int(output.name[5:])) or self.outputs


class XServer:
    """The X server *display*; each question to it has until *deadline*."""

    def __init__(self, machine: Programs, display: str, deadline: Deadline) -> None:
        self.display = display
        self._machine = machine
        self._deadline = deadline

    def query(self) -> Screen:
        """Return what the server shows. Raises VMInterfaceError."""
        return Screen.parse(self.run("--prop").decode("utf-8", "replace"))

    def wait(self) -> Screen:
        """Return what the server shows, as soon as there is one. Raises DeadlineExceeded, ProgramMissing."""
        while True:
            try:
                return self.query()
            except ProgramFailed as error:
                if self._deadline.remaining <= _PAUSE:
                    message = f"no X server replied at {self.display} within {self._deadline.seconds:g} s: {error}"
                    raise DeadlineExceeded(message) from None
            time.sleep(_PAUSE)

    def run(self, *words: str) -> bytes:
        """Run ``xrandr`` with *words*. Raises VMInterfaceError."""
        environment = {"DISPLAY": self.display}
        timeout = max(0.1, self._deadline.remaining)
        return self._machine.run(["xrandr", *words], env=environment, timeout=timeout)

    def apply(self, monitors: Sequence[Monitor], before: Screen) -> None:
        """Show *monitors* on the outputs of *before*, one after the other, and switch off the others.

        Raises VMInterfaceError; whatever ends it early, the server then shows what it did before.
        """
        undo: list[list[str]] = []
        try:
            words = self._prepare(monitors, before, undo)
            undo.insert(0, _as_it_was(before))
            self.run(*words)
            _verify(monitors, self.query())
        except BaseException:
            # Also when it is the deadline that has come.
            self._machine.deadline = Deadline.after(UNDO)
            for words in undo:
                with contextlib.suppress(VMInterfaceError):
                    self._machine.run(["xrandr", *words], env={"DISPLAY": self.display})
            raise

    def _prepare(self, monitors: Sequence[Monitor], before: Screen, undo: list[list[str]]) -> list[str]:
        """Let every output have its mode; return the words that show them, all in one call: else positions are lost."""
        known = set(before.modes)
        words: list[str] = []
        outputs = before.monitors
        for output, monitor in zip(outputs, monitors, strict=False):
            mode = f"QB{monitor.width}x{monitor.height}"
            if mode not in known:
                self.run("--newmode", mode, *Modeline.for_size(monitor.width, monitor.height).words())
                known.add(mode)
                undo.append(["--rmmode", mode])
            if mode not in output.modes:
                self.run("--addmode", output.name, mode)
                undo.insert(0, ["--delmode", output.name, mode])
            words += ["--output", output.name, "--mode", mode, "--pos", f"{monitor.x}x{monitor.y}"]
            if output is outputs[0]:
                words.append("--primary")
            # No size is that of a fresh server: what an earlier layout set goes.
            for name, size in zip(_SIZES, (monitor.width_mm or 0, monitor.height_mm or 0), strict=True):
                words += ["--set", name, str(size)] if output.properties.get(name, str(size)) != str(size) else []
        for output in outputs[len(monitors) :]:
            words += ["--output", output.name, "--off"]
        return words


def _as_it_was(before: Screen) -> list[str]:
    words = [] if any(output.primary for output in before.monitors) else ["--noprimary"]
    for output in before.monitors:
        words += ["--output", output.name]
        if output.primary:
            words.append("--primary")
        if output.geometry is None or output.mode is None:
            words.append("--off")
        else:
            words += ["--mode", output.mode, "--pos", f"{output.geometry[2]}x{output.geometry[3]}"]
        for name in _SIZES:
            words += ["--set", name, output.properties[name]] if name in output.properties else []
    return words


def _verify(monitors: Sequence[Monitor], after: Screen) -> None:
    # xrandr moves the whole layout so that it begins at 0, 0.
    left, top = min(monitor.x for monitor in monitors), min(monitor.y for monitor in monitors)
    desired = [(monitor.width, monitor.height, monitor.x - left, monitor.y - top) for monitor in monitors]
    shown = [output.geometry for output in after.monitors]
    for output, geometry in zip(after.monitors, [*desired, *[None] * (len(shown) - len(desired))], strict=True):
        if output.geometry != geometry:
            raise VMInterfaceError(
                f"the X server shows {_geometry(output.geometry)} on {output.name} instead of {_geometry(geometry)}"
            )


def _geometry(geometry: tuple[int, int, int, int] | None) -> str:
    return "nothing" if geometry is None else "{}x{}+{}+{}".format(*geometry)
