"""What ``xrandr -q`` and ``xrandr --prop`` print of the outputs of an X server that show something.

Source of the form: X.Org's ``xrandr.c``. It turns an output's pixels with the rotation that it names after them, and
prints the panel's millimetres as they are, so these are turned here. An output of the driver that VMs have keeps its
millimetres in the properties ``WIDTH_MM`` and ``HEIGHT_MM``, which ``--prop`` prints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex
from vminterface.values.monitor import LIMIT, Monitor, MonitorLayout

_TEXT_LIMIT = 1 << 20
_OUTPUT = regex(
    r"(?P<name>\S+) (?:connected|disconnected|unknown connection)(?P<primary> primary)?"
    r" (?P<width>[0-9]{1,5})x(?P<height>[0-9]{1,5})\+(?P<x>[0-9]{1,5})\+(?P<y>[0-9]{1,5})(?![0-9])"
    # The rotation and the reflection are printed only where there are some, the possible ones in brackets.
    r"(?P<turned> (?:left|right))?[^(]*"
    r"(?:\([^)]*\))?"
    r"(?:.*?(?P<width_mm>[0-9]{1,6})mm x (?P<height_mm>[0-9]{1,6})mm)?",
    re.ASCII,
)
_ANY_OUTPUT = regex(r"\S+ (?:connected|disconnected|unknown connection)(?: |\Z)")
_PROPERTY = regex(r"\t(WIDTH_MM|HEIGHT_MM): ([0-9]{1,5})\s*\Z", re.ASCII)
#: A VM learns only to which of these classes a monitor's resolution belongs: the true size would help to
#: recognise the machine.
_DPI_CLASSES = (300, 200, 150)
_DPI_OTHERWISE = 96


@dataclass(frozen=True, slots=True)
class Output:
    """An output that shows something: its rectangle in pixels, its size in millimetres, turned as the pixels are."""

    name: str
    width: int
    height: int
    x: int
    y: int
    #: Width and height, 0 for none; None where the server does not show any.
    millimetres: tuple[int, int] | None
    primary: bool

    def monitor(self, millimetres: tuple[int, int] | None = None) -> Monitor:
        """Return this output as a monitor of that size in millimetres. Raises InvalidValues."""
        return Monitor(self.width, self.height, self.x, self.y, *(millimetres or (None, None)))


def outputs(untrusted_text: str) -> tuple[Output, ...]:
    """Return the outputs that show something, in the order of xrandr. Reads at most 1 MiB."""
    found: list[Output] = []
    properties: dict[str, int] = {}
    shown: re.Match[str] | None = None

    def end() -> None:
        if shown is not None:
            found.append(_output(shown, properties))
        properties.clear()

    for line in untrusted_text[:_TEXT_LIMIT].splitlines():
        if _ANY_OUTPUT.match(line):
            end()
            shown = _OUTPUT.match(line)
        elif size := _PROPERTY.match(line):
            properties[size[1]] = int(size[2])
    end()
    return tuple(found)


def _output(shown: re.Match[str], properties: dict[str, int]) -> Output:
    width, height, x, y = (int(shown[name]) for name in ("width", "height", "x", "y"))
    panel = (int(shown["width_mm"] or 0), int(shown["height_mm"] or 0))
    millimetres: tuple[int, int] | None = panel[::-1] if shown["turned"] else panel
    if len(properties) == 2:
        millimetres = properties["WIDTH_MM"], properties["HEIGHT_MM"]
    elif panel == (0, 0):
        millimetres = None
    return Output(shown["name"], width, height, x, y, millimetres, bool(shown["primary"]))


def layout_of_dom0(untrusted_text: str) -> MonitorLayout:
    """Return the layout to give to VMs that have dom0's monitors: the primary output first, then in xrandr's order.

    Physical sizes are replaced by those of the resolution's class. Raises InvalidValue, one sentence that names the
    program and the output, if there is none, too many, or one that no VM could be given.
    """
    monitors = []
    for output in sorted(outputs(untrusted_text), key=lambda output: not output.primary):
        try:
            monitors.append(output.monitor(_blurred(output)))
        except InvalidValue as error:
            errors = "; ".join(f"{one.where}: {one}" for one in error.errors)
            raise InvalidValue(f"xrandr in dom0 shows a monitor on {printable(output.name, 40)}: {errors}") from None
    if not monitors:
        raise InvalidValue("xrandr in dom0 shows no output with a geometry")
    if len(monitors) > LIMIT:
        raise InvalidValue(f"xrandr in dom0 shows {len(monitors)} monitors (expected 1 to {LIMIT})")
    return MonitorLayout(tuple(monitors))


def _blurred(output: Output) -> tuple[int, int] | None:
    """Return the millimetres to give for *output*, None where its true ones are not known."""
    width_mm, height_mm = output.millimetres or (0, 0)
    if not width_mm and not height_mm:
        return None
    # A side that the monitor does not give does not count.
    true_dpi = output.width * 254 // width_mm // 10 if width_mm else output.height * 254 // height_mm // 10
    dpi = next((limit for limit in _DPI_CLASSES if true_dpi > limit), _DPI_OTHERWISE)
    return output.width * 254 // dpi // 10, output.height * 254 // dpi // 10
