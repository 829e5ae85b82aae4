"""Menu entries of a VM: what ``qubes.GetAppmenus`` answers, ``ID.desktop:KEY=VALUE`` in lines.

Sources: Qubes desktop-linux-common ``qubesappmenus/receive.py`` (what dom0 takes), core-agent-linux
``qubes.GetAppmenus`` (what VMs send) and the freedesktop menu specification 1.1 (categories). The parser's work
grows with the length of a line, not with its square: the VM chooses the lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from vminterface.errors import InvalidValue, printable, printable_value
from vminterface.regex import regex
from vminterface.values.transliterate import to_ascii

#: Bytes of a line with its end; what is beyond is taken for a line of its own.
LINE_LIMIT = 1024
#: So many lines are too many.
LINE_COUNT = 100_000
#: Bytes of an answer that has fewer lines.
REPLY_LIMIT = LINE_LIMIT * LINE_COUNT
#: Warnings that are kept; more are only counted.
WARNING_LIMIT = 20
_SHOWN = 60

_TEXT = regex(r"[A-Za-z0-9/.,:&()_+ -]*\Z", re.ASCII)
#: Keys whose values people read.
TEXTS = frozenset(("Name", "GenericName", "Comment"))
_ALLOWED: Mapping[str, re.Pattern[str]] = {
    "Name": _TEXT,
    "GenericName": _TEXT,
    "Comment": _TEXT,
    "StartupWMClass": regex(r"[A-Za-z0-9/_.-]*\Z", re.ASCII),
    "Categories": regex(r"[A-Za-z0-9/.;:'() -]*\Z", re.ASCII),
    "Exec": regex(r"[A-Za-z0-9()_&>/{}:.= -]*\Z", re.ASCII),
    "Icon": regex(r"[A-Za-z0-9/_.-]*\Z", re.ASCII),
}
_ID = regex(r"[A-Za-z0-9._-]+\Z", re.ASCII)
#: ``ID[.desktop]:KEY = VALUE``, anywhere in a line. Tried at the start of a word only and possessive, so that no line
#: is gone through more than once.
_ASSIGNMENT = regex(r"(?<![A-Za-z0-9._-])([A-Za-z0-9._-]++):([A-Za-z0-9-]++(?:\[[A-Za-z@_]++\])?+)\s*+=\s*+([^\n]*+)")
#: ``ID.desktop:`` with a comment or nothing behind it, anywhere in a line.
_COMMENT = regex(r"[A-Za-z0-9._-][^\n]desktop:(?:#|\Z)")
_SUFFIX = ".desktop"

#: Main and additional categories; the reserved ones (such as Screensaver) are left out, as dom0 does.
CATEGORIES = frozenset(
    (
        "2DGraphics", "3DGraphics", "Accessibility", "ActionGame", "Adult", "AdventureGame", "Amusement",
        "ArcadeGame", "Archiving", "Art", "ArtificialIntelligence", "Astronomy", "Audio", "AudioVideo",
        "AudioVideoEditing", "Biology", "BlocksGame", "BoardGame", "Building", "Calculator", "Calendar",
        "CardGame", "Chart", "Chat", "Chemistry", "Clock", "Compression", "ComputerScience", "ConsoleOnly",
        "Construction", "ContactManagement", "Core", "DataVisualization", "Database", "Debugger",
        "DesktopSettings", "Development", "Dialup", "Dictionary", "DiscBurning", "Documentation", "Economy",
        "Education", "Electricity", "Electronics", "Email", "Emulator", "Engineering", "Feed", "FileManager",
        "FileTools", "FileTransfer", "Filesystem", "Finance", "FlowChart", "GNOME", "GTK", "GUIDesigner", "Game",
        "Geography", "Geology", "Geoscience", "Graphics", "HamRadio", "HardwareSettings", "History", "Humanities",
        "IDE", "IRCClient", "ImageProcessing", "InstantMessaging", "Java", "KDE", "KidsGame", "Languages",
        "Literature", "LogicGame", "Maps", "Math", "MedicalSoftware", "Midi", "Mixer", "Monitor", "Motif",
        "Music", "Network", "News", "NumericalAnalysis", "OCR", "Office", "P2P", "PDA", "PackageManager",
        "ParallelComputing", "Photography", "Physics", "Player", "Presentation", "Printing", "Profiling",
        "ProjectManagement", "Publishing", "Qt", "RasterGraphics", "Recorder", "RemoteAccess", "RevisionControl",
        "Robotics", "RolePlaying", "Scanning", "Science", "Security", "Sequencer", "Settings", "Shooter",
        "Simulation", "Spirituality", "Sports", "SportsGame", "Spreadsheet", "StrategyGame", "System", "TV",
        "Telephony", "TelephonyTools", "TerminalEmulator", "TextEditor", "TextTools", "Translation", "Tuner",
        "Utility", "VectorGraphics", "Video", "VideoConference", "Viewer", "WebBrowser", "WebDevelopment",
        "WordProcessor", "XFCE",
    )
)  # fmt: skip


def parse_id(text: str) -> str:
    """Return *text* if it may be the id of an application, without ``.desktop`` at its end. Raises InvalidValue."""
    if not isinstance(text, str) or not _ID.match(text) or len(text) > LINE_LIMIT:
        shown = printable_value(text, _SHOWN)
        raise InvalidValue(f"'{shown}' is not a valid id of an application (expected A-Z a-z 0-9 . _ -)")
    return text.removesuffix(_SUFFIX) or text


@dataclass(frozen=True, slots=True)
class MenuEntry:
    """One application: its *id*, and its checked values by their desktop entry's key (``Name``, ``Exec``, ...)."""

    id: str
    values: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """Whether it can become an entry of a menu: only with a name."""
        return "Name" in self.values


@dataclass(frozen=True, slots=True)
class MenuEntries:
    """All entries of a VM in the order of their first line, and what was dropped from the answer."""

    entries: tuple[MenuEntry, ...]
    #: At most WARNING_LIMIT sentences, printable ASCII.
    warnings: tuple[str, ...] = ()
    #: How many values were dropped.
    dropped: int = 0

    def __iter__(self) -> Iterator[MenuEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @classmethod
    def parse(cls, untrusted_reply: bytes) -> MenuEntries:
        """Read what ``qubes.GetAppmenus`` answered.

        Keys that dom0 does not use, comments and lines that are not ASCII are passed over; of a key that is given
        twice the last value counts. Raises InvalidValue for 100000 lines or more.
        """
        found = _Found()
        for number, untrusted_line in enumerate(_lines(untrusted_reply), 1):
            if number >= LINE_COUNT:
                raise InvalidValue(f"the menu entries have too many lines (expected less than {LINE_COUNT})")
            if untrusted_line.isascii():
                found.take(untrusted_line.decode("ascii").strip())
        entries = tuple(MenuEntry(id_, values) for id_, values in found.entries.items())
        return cls(entries, tuple(found.warnings), found.dropped)


@dataclass(frozen=True, slots=True)
class Rendered:
    """The answer of ``qubes.GetAppmenus``, and the applications that it leaves out, with the reason."""

    reply: bytes
    left_out: tuple[str, ...] = ()


def render(entries: Iterable[MenuEntry]) -> Rendered:
    """Return the answer of ``qubes.GetAppmenus`` with *entries*, an empty line after each.

    Texts that people read are put into the characters that dom0 takes. Left out are other values with characters that
    it does not take, values that are too long, unknown keys, and whole entries that would have no name, whose id has
    other characters, or that go beyond the number of lines.
    """
    lines: list[str] = []
    left_out: list[str] = []
    for entry in entries:
        named = printable(f"{entry.id}{_SUFFIX}", _SHOWN)
        if not _ID.match(entry.id):
            left_out.append(f"{named}: the file name has characters that dom0 does not accept")
            continue
        values = {key: _text(value) if key in TEXTS else value for key, value in entry.values.items()}
        if entry.values.get("Name") and not values["Name"]:
            left_out.append(f"{named}: dom0 accepts no character of its name")
            continue
        shown = [
            f"{entry.id}{_SUFFIX}:{key}={value}"
            for key, value in values.items()
            if _taken(key, value) and (value or not entry.values[key])
        ]
        shown = [line for line in shown if len(line) < LINE_LIMIT]
        if len(lines) + len(shown) + 1 >= LINE_COUNT:
            break
        lines += [*shown, ""]
    return Rendered("".join(f"{line}\n" for line in lines).encode("ascii"), tuple(left_out))


def _text(value: str) -> str:
    """Return a text that people read in the characters that dom0 takes; empty if that is none, or has controls."""
    if not value.isprintable():
        return ""
    plain = (character if _TEXT.match(character) else "" for character in to_ascii(value, ""))
    return " ".join("".join(plain).split())


@dataclass(slots=True)
class _Found:
    """What has been read so far."""

    entries: dict[str, dict[str, str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    dropped: int = 0

    def take(self, untrusted_line: str) -> None:
        """Read one line."""
        if _COMMENT.search(untrusted_line) or not (shown := _ASSIGNMENT.search(untrusted_line)):
            return
        id_, key, untrusted_value = shown[1].removesuffix(_SUFFIX) or shown[1], shown[2], shown[3].strip()
        if key not in _ALLOWED:
            return
        if not _taken(key, untrusted_value):
            self.dropped += 1
            if len(self.warnings) < WARNING_LIMIT:
                self.warnings.append(
                    f"{printable(id_, _SHOWN)}: {key} has characters that are not allowed: "
                    f"'{printable(untrusted_value, _SHOWN)}'"
                )
            return
        value = _known_categories(untrusted_value) if key == "Categories" else untrusted_value
        self.entries.setdefault(id_, {})[key] = value


def _taken(key: str, value: str) -> bool:
    return key in _ALLOWED and _ALLOWED[key].match(value) is not None


def _lines(untrusted_reply: bytes) -> Iterator[bytes]:
    """Yield the lines, none longer than LINE_LIMIT."""
    start = 0
    while start < len(untrusted_reply):
        end = untrusted_reply.find(b"\n", start, start + LINE_LIMIT) + 1 or start + LINE_LIMIT
        yield untrusted_reply[start:end]
        start = end


def _known_categories(value: str) -> str:
    known = [category for part in value.split(";") if (category := part.strip()) in CATEGORIES]
    return ";".join(known) + ";"
