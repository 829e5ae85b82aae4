"""Monitors in the form that a VM gets: the input of ``qubes.SetMonitorLayout``.

One line a monitor, ``W H X Y`` or ``W H X Y Wmm Hmm``: pixels, then millimetres. Source: Qubes core-admin-client
``qvm_start_daemon`` (writer) and gui-agent-linux ``qubes-set-monitor-layout`` (reader). The reader switches all
outputs off when it gets nothing and takes what it cannot read for a mode, so that this parser is stricter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from vminterface.errors import InvalidValue, InvalidValues, printable, printable_value
from vminterface.regex import regex
from vminterface.values import quoted, schema

#: The display that a VM's own windows are on. A VM with the file GUIVM draws other VMs' desktops too: these have its
#: first display, and its own windows the second (gui-agent-linux ``qubes-set-monitor-layout``).
DISPLAY, GUIVM_DISPLAY = ":0", ":1"
GUIVM = "/run/qubes-service/guivm-gui-agent"

#: Outputs that the dummy video driver of a VM has.
LIMIT = 16

#: The last coordinate of the X protocol. A server may have less; it says so when it is given a layout.
_EDGE = 32767
#: Pixels: the X protocol's coordinates. Millimetres: the range of the dummy driver's property.
_RANGES: Mapping[str, tuple[int, int]] = {
    "width": (1, _EDGE),
    "height": (1, _EDGE),
    "x": (0, _EDGE),
    "y": (0, _EDGE),
    "width_mm": (0, 65535),
    "height_mm": (0, 65535),
}
_NUMBER = regex(r"(?:0|[1-9][0-9]{0,4})\Z", re.ASCII)
#: Pixels an inch that a pillar may ask for in place of millimetres.
_DPI_RANGE = (20, 1000)
DPI_SCHEMA = schema.any_of(schema.number(*_DPI_RANGE), schema.NULL)
#: What the pillar says of one monitor; a size in millimetres may be null.
SCHEMA = schema.mapping(
    {
        **{name: schema.number(*limits) for name, limits in _RANGES.items() if not name.endswith("_mm")},
        **{
            name: schema.any_of(schema.number(*limits), schema.NULL)
            for name, limits in _RANGES.items()
            if name.endswith("_mm")
        },
        "dpi": DPI_SCHEMA,
    },
    needed=("width", "height", "x", "y"),
)
#: A terminal's character is about twice as high as it is wide.
_CELL = 2


@dataclass(frozen=True, slots=True)
class Monitor:
    """One monitor: size and position in pixels, size in millimetres or None. Raises InvalidValues."""

    width: int
    height: int
    x: int
    y: int
    width_mm: int | None = None
    height_mm: int | None = None

    def __post_init__(self) -> None:
        errors = [error for field in fields(self) if (error := _error(field.name, getattr(self, field.name)))]
        if (self.width_mm is None) != (self.height_mm is None):
            missing = "width_mm" if self.width_mm is None else "height_mm"
            errors.append(InvalidValue("is missing (expected millimetres for both sides or for neither)", missing))
        if not errors:
            errors = [
                InvalidValue(f"{at} and {size} more pixels end beyond {_EDGE}, the last coordinate of X", name)
                for name, at, size in (("x", self.x, self.width), ("y", self.y, self.height))
                if at + size > _EDGE
            ]
        if errors:
            raise InvalidValues(errors)

    @property
    def rectangle(self) -> tuple[int, int, int, int]:
        """Position and size in pixels: x, y, width, height."""
        return self.x, self.y, self.width, self.height

    def at(self, dpi: int) -> Monitor:
        """Return this monitor with the size in millimetres that makes *dpi* pixels an inch."""
        return replace(self, width_mm=_millimetres(self.width, dpi), height_mm=_millimetres(self.height, dpi))

    def render(self) -> str:
        """Return the monitor's line, without its end."""
        line = f"{self.width} {self.height} {self.x} {self.y}"
        return line if self.width_mm is None else f"{line} {self.width_mm} {self.height_mm}"


def dpi_error(value: object) -> InvalidValue | None:
    """Return what is wrong with *value* as the pillar's ``dpi``, None if nothing."""
    return _number_error("dpi", value, _DPI_RANGE)


def _error(name: str, value: object) -> InvalidValue | None:
    if value is None and name in ("width_mm", "height_mm"):
        return None
    return _number_error(name, value, _RANGES[name])


def _number_error(name: str, value: object, limits: tuple[int, int]) -> InvalidValue | None:
    low, high = limits
    # bool is an int to Python, but `width: yes` is a slip.
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return None
    shown = printable_value(value, quoted=True)
    return InvalidValue(f"{shown} is not a whole number from {low} to {high}{quoted.hint(value)}", name)


@dataclass(frozen=True, slots=True)
class MonitorLayout:
    """1 to 16 monitors, in the order of the VM's outputs; the first one is the primary one."""

    monitors: tuple[Monitor, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.monitors) <= LIMIT:
            raise InvalidValue(f"{len(self.monitors)} monitors (expected 1 to {LIMIT})")

    def __iter__(self) -> Iterator[Monitor]:
        return iter(self.monitors)

    def __len__(self) -> int:
        return len(self.monitors)

    @classmethod
    def parse(cls, text: str) -> MonitorLayout:
        """Read the lines of ``qubes.SetMonitorLayout``. Raises InvalidValue, ``where`` as in ``0:width``."""
        if not text.endswith("\n"):
            raise InvalidValue(
                f"'{printable(text, 80)}' is not a valid monitor layout (expected lines, each with its end)"
            )
        lines = text[:-1].split("\n", LIMIT)
        if len(lines) > LIMIT:
            raise InvalidValue(f"the monitor layout has too many lines (expected at most {LIMIT})")
        errors: list[InvalidValue] = []
        monitors: list[Monitor] = []
        for index, line in enumerate(lines):
            words = line.split(" ")
            if len(words) not in (4, 6) or not all(_NUMBER.match(word) for word in words):
                errors.append(
                    InvalidValue(
                        f"'{printable(line, 60)}' is not a valid monitor (expected W H X Y [Wmm Hmm])", str(index)
                    )
                )
                continue
            try:
                monitors.append(Monitor(*map(int, words)))
            except InvalidValue as error:
                errors.extend(_at(index, error))
        if errors:
            raise InvalidValues(errors)
        return cls(tuple(monitors))

    @classmethod
    def from_mappings(cls, monitors: object) -> MonitorLayout:
        """Read the pillar form, a list of mappings of :class:`Monitor`'s fields.

        Raises InvalidValues with every fault, ``where`` as in ``0:width``.
        """
        if not isinstance(monitors, Sequence) or isinstance(monitors, (str, bytes)):
            raise InvalidValue(f"{printable_value(monitors, quoted=True)} is not a list of monitors")
        errors: list[InvalidValue] = []
        found: list[Monitor] = []
        if not 1 <= len(monitors) <= LIMIT:
            errors.append(InvalidValue(f"{len(monitors)} monitors (expected 1 to {LIMIT})"))
        for index, mapping in enumerate(monitors[:LIMIT]):
            try:
                found.append(_from_mapping(mapping))
            except InvalidValue as error:
                errors.extend(_at(index, error))
        if errors:
            raise InvalidValues(errors)
        return cls(tuple(found))

    def render(self) -> str:
        """Return the input of ``qubes.SetMonitorLayout``."""
        return "".join(f"{monitor.render()}\n" for monitor in self.monitors)

    def mappings(self) -> list[dict[str, int]]:
        """Return the pillar form: a list of mappings of the fields that each monitor has."""
        names = ("width", "height", "x", "y", "width_mm", "height_mm")
        return [{name: size for name in names if (size := getattr(m, name)) is not None} for m in self.monitors]

    def at(self, dpi: int) -> MonitorLayout:
        """Return this layout with the sizes in millimetres that make *dpi* pixels an inch."""
        return MonitorLayout(tuple(monitor.at(dpi) for monitor in self.monitors))

    def notes(self) -> list[str]:
        """Return a sentence for each detail that X accepts and the admin may not have intended."""
        found = []
        left, top, _, _ = self.bounding_box
        if left or top:
            found.append(f"the layout begins at {left}, {top}, and X moves it to 0, 0")
        for number, monitor in enumerate(self.monitors, 1):
            for other, before in enumerate(self.monitors[: number - 1], 1):
                if monitor.rectangle == before.rectangle:
                    found.append(f"monitors {other} and {number} show the same area")
        return found

    @property
    def bounding_box(self) -> tuple[int, int, int, int]:
        """The smallest rectangle around all monitors in pixels: x, y, width, height."""
        left = min(monitor.x for monitor in self.monitors)
        top = min(monitor.y for monitor in self.monitors)
        right = max(monitor.x + monitor.width for monitor in self.monitors)
        bottom = max(monitor.y + monitor.height for monitor in self.monitors)
        return left, top, right - left, bottom - top

    def sketch(self, columns: int = 60) -> str:
        """Return a picture in plain characters, *columns* wide: each monitor to scale, with its number and size.

        The primary one's number has a star. Of monitors that lie over each other the later one is on top. Raises
        InvalidValue for less than 8 columns.
        """
        if columns < 8:
            raise InvalidValue(f"{columns} columns are too few for a picture (expected at least 8)")
        left, top, width, height = self.bounding_box
        # Not more rows than columns: a column of many monitors is drawn flatter instead of without end.
        rows = max(3, min(columns, round(height * (columns - 1) / width / _CELL) + 1))
        canvas = [[" "] * columns for _ in range(rows)]

        def column(x: int) -> int:
            return (x - left) * (columns - 1) // width

        def row(y: int) -> int:
            return (y - top) * (rows - 1) // height

        for number, monitor in enumerate(self.monitors, 1):
            x0, x1 = column(monitor.x), column(monitor.x + monitor.width)
            y0, y1 = row(monitor.y), row(monitor.y + monitor.height)
            for y in range(y0, y1 + 1):
                for x in range(x0, x1 + 1):
                    drawn = _character(x in (x0, x1), y in (y0, y1))
                    # A corner stays a corner under the side of a neighbour.
                    if drawn == " " or canvas[y][x] != "+":
                        canvas[y][x] = drawn
            # The first one is the primary one.
            label = f"{number}{'*' * (number == 1)}: {monitor.width}x{monitor.height}"
            room = x1 - x0 - 1
            if y1 - y0 >= 2 and room > 0:
                shown = label if len(label) <= room else str(number)[:room]
                start = x0 + 1 + (room - len(shown)) // 2
                canvas[(y0 + y1) // 2][start : start + len(shown)] = shown
        return "\n".join("".join(line).rstrip() for line in canvas) + "\n"


def _from_mapping(mapping: object) -> Monitor:
    if not isinstance(mapping, Mapping):
        raise InvalidValue(f"{printable_value(mapping, quoted=True)} is not a mapping with width, height, x and y")
    errors = [
        InvalidValue(f"unknown field (expected {', '.join(_RANGES)}, dpi)", printable_value(name))
        for name in mapping
        if name not in _RANGES and name != "dpi"
    ]
    dpi = mapping.get("dpi")
    if dpi is not None and (error := dpi_error(dpi)):
        errors.append(error)
    if dpi is not None and not {"width_mm", "height_mm"}.isdisjoint(mapping):
        errors.append(InvalidValue("is given together with millimetres (expected one of them)", "dpi"))
    known = {name: mapping[name] for name in _RANGES if name in mapping}
    errors += [InvalidValue("is missing", name) for name in ("width", "height", "x", "y") if name not in known]
    if not errors:
        monitor = Monitor(**known)
        return monitor if dpi is None else monitor.at(dpi)
    errors += [error for name, value in known.items() if (error := _error(name, value))]
    raise InvalidValues(errors)


def _at(index: int, error: InvalidValue) -> list[InvalidValue]:
    """Return the faults of the monitor at *index*, each with its full place."""
    return [InvalidValue(str(f), f"{index}:{f.where}" if f.where else str(index)) for f in error.errors]


def _millimetres(pixels: int, dpi: int) -> int:
    return max(1, round(pixels * 25.4 / dpi))


def _character(on_side: bool, on_edge: bool) -> str:
    if on_side and on_edge:
        return "+"
    if on_side:
        return "|"
    return "-" if on_edge else " "
