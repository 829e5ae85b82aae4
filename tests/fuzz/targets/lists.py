"""Text files and lines: the owner's and handlers' options, desktop files, lists of keyboards, command lines."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from typing import Any

from tests.fuzz.pieces import Pieces
from tests.fuzz.target import Target, as_text, bytes_target, check_text, text_target
from tests.support.memorymachine import MemoryMachine
from vminterface.dom0.menu import desktopfile as dom0_desktopfile
from vminterface.errors import printable, printable_lines, printable_path, printable_value
from vminterface.values import acceptance, execline, xkblist
from vminterface.values.keyboard import KeyboardLayout
from vminterface.values.transliterate import to_ascii
from vminterface.vm.handlers.desktop import desktopfile
from vminterface.vm.handlers.display import icontheme
from vminterface.vm.handlers.files import location
from vminterface.vm.handlers.runtime import config, owner
from vminterface.vm.machine import osrelease, session

DESKTOP = b"""[Desktop Entry]
Type=Application
Name=Viewer
Name[de]=Betrachter
Exec="a b" %U --x=%% %i %c %k 'y'
TryExec=viewer
Icon=viewer
Categories=Graphics;Viewer;
[Desktop Action new]
Name=New
"""
THEME = """[Icon Theme]
Name=X
Inherits=hicolor,other
Directories=48x48/apps,scalable
ScaledDirectories=48@2
[48x48/apps]
Size=48
Type=Fixed
[scalable]
Size=48
MinSize=16
MaxSize=512
Type=Scalable
[48@2]
Size=48
Scale=2
"""
SETTINGS = owner.SETTINGS
SERVICES = ("qubes.Filecopy", "qubes.OpenURL")


@contextlib.contextmanager
def _in_file(data: bytes) -> Iterator[str]:
    """Give the path of a file with *data*, for as long as the block takes."""
    with tempfile.NamedTemporaryFile(prefix="vminterface-fuzz-") as file:
        file.write(data)
        file.flush()
        yield file.name


def _owner(data: bytes) -> Any:
    """Read the owner's two files, with a NUL between, as the agent and the handlers do."""
    first, _, second = data.partition(b"\0")
    acceptance.parse(as_text(first), SETTINGS, SERVICES)
    machine = MemoryMachine({owner.PATHS[0]: first, owner.PATHS[1]: second})
    return owner.Owner(machine)


def _owner_holds(found: owner.Owner) -> None:
    check_text(found.error)
    for verdict in (*map(found.setting, SETTINGS), found.service("qubes.Filecopy"), found.service("qubes.VMExec+x")):
        assert verdict.word in acceptance.WORDS
        check_text(verdict.reason)
        assert not found.error or verdict.word == acceptance.REFUSE


def _handlers(data: bytes) -> float:
    machine = MemoryMachine({config.PATH: data})
    config.option(machine, config.ROOT_DEVICE, "")
    return config.seconds(machine, config.SESSION_TIMEOUT, 60)


def _exec(text: str) -> list[str]:
    """Take a command line apart as a menu does: in the first line, if there is one, the name, icon and path."""
    line, _, more = text.partition("\n\n")
    words = execline.split(execline.unescape(line))
    return execline.fill(words, name=more, icon=more[:3], path="/usr/share/applications/x.desktop")


def _exec_holds(words: list[str]) -> None:
    assert words[0]
    assert not any("\0" in word for word in words)


def _desktop(data: bytes) -> Any:
    """Read a desktop file as the VM's handlers, and as dom0's menu does."""
    with _in_file(data) as path:
        values = desktopfile.read(path)
        texts = dom0_desktopfile.read(path)
    assert all("\n" not in text for text in (*texts, *texts.values()))
    return values


def _desktop_holds(values: dict[bytes, bytes]) -> None:
    check_text(desktopfile.problem(values, lambda program: "x" in program))
    for key in desktopfile.localized(b"Name", {"LANG": "de_DE.UTF-8@euro"}):
        desktopfile.text(values, key)


def _theme(text: str) -> list[str]:
    machine = MemoryMachine({"/usr/share/icons/x/index.theme": text.encode("utf-8", "surrogateescape")})
    folders = icontheme._by_distance(icontheme._index(machine, ["/usr/share/icons/x"]))
    return [*folders, *icontheme._of_theme(machine, ["/usr/share/icons"], "x", set())]


def _theme_holds(folders: list[str]) -> None:
    assert not any(".." in folder for folder in folders)


def _icon(text: str) -> str:
    return icontheme.find(MemoryMachine({"/usr/share/pixmaps/x.png": b""}), text, {"HOME": "/home/user"})


def _keyboards(data: bytes) -> list[str]:
    layout, _, listed = data.partition(b"\0")
    parsed = KeyboardLayout.parse(layout.decode("latin-1"))
    xkblist._read.cache_clear()
    with _in_file(listed) as path:
        return xkblist.warnings(parsed, [f"{path}.none", path])


def _shown(data: bytes) -> list[str]:
    """Show *data* in every way in which a message shows what is foreign, cut to a length that its first byte says."""
    pieces = Pieces(data)
    limit = 4 + pieces.byte()
    rest = pieces.rest()
    found = [printable(rest, limit), printable_path(rest, limit), printable_value(as_text(rest), limit)]
    found += [printable(as_text(rest), limit), printable_path(as_text(rest), limit)]
    found += printable_lines(as_text(rest), limit).split("\n")
    for one in found:
        assert len(one) <= limit, f"{len(one)} characters where {limit} are allowed: {one!r}"
    return found


def _plain_letters(text: str) -> None:
    assert text.isascii(), f"not ASCII: {text!r}"


def _os(data: bytes) -> dict[str, str]:
    """Read what a distribution says of itself: os-release, a NUL, a table of releases."""
    release, _, table = data.partition(b"\0")
    return osrelease.features(MemoryMachine({"/etc/os-release": release, f"{osrelease.TABLES}/debian.csv": table}))


def _line_of(data: bytes) -> list[str] | None:
    """Take a place for a backup for a shell command, as far as it is one."""
    machine = MemoryMachine({location.COMMANDS_ALLOWED: b""}, programs={"cat": b""})
    return location.shell_command(machine, as_text(data))


def _lines_hold(lines: list[str]) -> None:
    for line in lines:
        check_text(line)


def _passwd(data: bytes) -> Any:
    return session.account(MemoryMachine({"/etc/passwd": data}), "user")


TARGETS: tuple[Target, ...] = (
    bytes_target(
        "vm.agentconf", _owner,
        b"network = ignore\nother-settings = accept # x\nqubes.Filecopy = refuse\n\0other-handlers = refuse",
        b"netwrk = ignore", b"name = x", b"name", b"name = ignore\nname = refuse\n", b"\0debug",
        b"\0debug=accept\nqubes.VMExec=ignore",
        holds=_owner_holds,
        words="other-settings other-handlers = accept ignore refuse # " + " ".join((*SETTINGS, *SERVICES)),
    ),
    bytes_target(
        "vm.handlersconf", _handlers, b"session-timeout = 60\n# x\nroot-device = /dev/xvda3\n", b"x = 1",
        b"session-timeout = 0",
        b"session-timeout", words="session-timeout system-timeout private-device open-timeout updates-proxy-port = #",
    ),
    text_target(
        "values.execline", _exec, None, "\"a b\" %U --x=%% %i %c\n\nname", "a\\sb 'c d' \\\\e", "", '"', "\0", "%f",
        "a %k %x %",
        '"\\$\\x"', "a\tb \\", '""', "\\", words="%f %F %u %U %i %c %k %% \\s \\n \\\\ \\\" \" '", holds=_exec_holds,
    ),
    bytes_target(
        "vm.desktopfile", _desktop, DESKTOP, DESKTOP.replace(b"Application", b"Link"), DESKTOP + b"Hidden=true\n",
        b"[Desktop Entry]",
        b"[Desktop Entry]\nHidden=true", b"[Desktop Entry]\nExec=\"\nName", b"[Desktop Entry]\nDBusActivatable=true",
        b"x\0",
        b"[Desktop Entry]\nTryExec=y", holds=_desktop_holds,
        words="[Desktop Exec= Name= Type= Hidden=true TryExec= DBusActivatable=true Icon= Entry] [x] Name[de_DE]=",
    ),
    text_target(
        "vm.icontheme", _theme, None, THEME, "[Icon Theme]\nDirectories=..,a\n[a]\nSize=9", "[", holds=_theme_holds,
        words="[Icon Theme] Directories= ScaledDirectories= Size= Scale= Type= MinSize= MaxSize= Threshold="
            " Inherits= Fixed Scalable",
    ),
    text_target("vm.icon", _icon, None, "x", "x.png", "../x", "", "y", words=".png .svg / .."),
    bytes_target(
        "values.xkblist", _keyboards,
        b"us,de+,nodeadkeys\0! layout\n  us English (US)\n  de German\n! variant\n  nodeadkeys de: x\n",
        b"pl\0! layout\nus\n!\n! variant\nx\n", b"de+neoo\0! layout\n de x\n! variant\n neo de: y", b"us\0\xff", b"us",
        words="! layout variant model option us de:",
        holds=_lines_hold,
    ),
    bytes_target("errors.printable", _shown, b"\0abc", b"\x50/usr/share/\xff\x1b[0m", b"\x05" + "é/ü/漢".encode(),
        b"\x10\n\r\n",
        holds=_lines_hold),
    text_target("values.transliterate", lambda text: to_ascii(text), None, "abc", "Żółw … ß", "½ €\u0301", "漢\udcff",
        holds=_plain_letters),
    bytes_target(
        "vm.osrelease", _os,
        b"ID=debian\nVERSION_ID=\"12\"\nID_LIKE='x y'\n\0version,a,b,c,d,eol\n12,Bookworm,x,y,z,2028-06-10",
        b"ID=fedora\nSUPPORT_END=2026-01-01\n", b"ID=\"x", b"ID=a b",
        words="ID= ID_LIKE= VERSION_ID= SUPPORT_END= \" ' # debian ,",
    ),
    bytes_target("vm.backupcommand", _line_of, b"cat > /x", b"'", b"", b"/mnt/x", b"cat", words="cat ' \" \\ ;"),
    bytes_target("vm.passwd", _passwd, b"user:x:1000:1000::/home/user:/bin/sh\n", b"user:x:a:1::h:", b":::::::",
        words="user: /home :"),
)  # fmt: skip
