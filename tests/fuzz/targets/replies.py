"""What VMs answer and report: menus, paths, templates, memory, devices, and what programs in them print."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.fuzz.pieces import Pieces, in_pairs, in_pieces, text_pairs
from tests.fuzz.target import Target, as_text, bytes_target, check_text, text_target
from vminterface.dom0.ensure.filelist import FileList
from vminterface.dom0.services.tools import _lines
from vminterface.errors import VMInterfaceError
from vminterface.values import appmenu, blockdevice, deviceid, memory, selectedpath, template, usbdescriptors, usbdevice
from vminterface.values.appmenu import MenuEntries, MenuEntry
from vminterface.values.blockdevice import BlockDevice
from vminterface.values.usbdevice import UsbDevice
from vminterface.values.xrandr import layout_of_dom0, outputs
from vminterface.vm.handlers.display.xrandr import Screen

MEMINFO = memory.Meminfo(400000, 100000, 20000, 80000, 1000000, 990000).render()
BLOCK = {"desc": "Ultra_Fit (X)", "size": "15376318464", "mode": "w", "device": "/dev/sda1", "parent": "sda"}
USB = {
    "desc": r"046d:c52b Logitech USB\x20Receiver serial",
    "usb-ver": "2",
    "interfaces": ":030101:",
    "connected-to": "work",
}
XRANDR = """\
Screen 0: minimum 8 x 8, current 5760 x 2160, maximum 32767 x 32767
eDP-1 connected primary 1920x1080+0+0 (normal left inverted right x axis y axis) 344mm x 194mm
\tWIDTH_MM: 508
\tHEIGHT_MM: 285 \t
   1920x1080     60.00*+  59.93
HDMI-1 disconnected (normal left inverted right x axis y axis)
DP-1 connected 3840x2160+1920+0 left (normal left inverted right x axis y axis) 294mm x 165mm
DUMMY0 connected 800x600+0+1080 (normal left) 0mm x 0mm
VGA-1 unknown connection 800x600+0+1080
  QB800x600 (0x1c3) 40.000MHz
"""
ROW = (
    b"qubes-template-debian-13|0|4.3.0|202501010000|itl|12|2025-01-01 00:00|GPL|http://example.org|Debian|A template|\n"
)
MENU = (
    b"firefox.desktop:Name=Firefox\nfirefox.desktop:Exec=qubes-desktop-run"
    b" firefox.desktop\nfirefox.desktop:Icon=firefox\n"
)
_DESCRIPTORS = (
    bytes([18, 1]) + bytes(16) + bytes([9, 4, 0, 0, 1, 8, 6, 0x50, 0, 9, 4, 0, 1, 4, 8, 6, 0x62, 0, 7, 5]) + bytes(5)
)


def _menu_holds(found: MenuEntries) -> None:
    assert len(found) == len([*found])
    for line in found.warnings:
        check_text(line)
    made = appmenu.render(found)
    again = MenuEntries.parse(made.reply)
    for one in found:
        assert not _can_be_made(one) or {one.id: _texts(one)} == {
            made.id: _texts(made) for made in again if made.id == one.id
        }
    assert not again.dropped
    assert all(entry.complete == ("Name" in entry.values) for entry in found)


def _texts(entry: MenuEntry) -> dict[str, str]:
    """Return the values of *entry*; of texts that people read, blanks are put as they are sent."""
    return {k: " ".join(v.split()) if k in appmenu.TEXTS else v for k, v in entry.values.items()}


def _can_be_made(entry: MenuEntry) -> bool:
    return bool({key for key, value in entry.values.items() if _is_kept(entry, key, value)}) and all(
        _is_kept(entry, key, value) for key, value in entry.values.items()
    )


def _is_kept(entry: MenuEntry, key: str, value: str) -> bool:
    return len(f"{entry.id}.desktop:{key}={value}") < appmenu.LINE_LIMIT


def _made_menu(data: bytes) -> list[MenuEntry]:
    """Return the entries that a VM's desktop files give, whatever is in them: id, then pairs of key and value."""
    entries = []
    for piece in Pieces(data).pieces():
        id_, *rest = as_text(piece).split("\n")
        entries.append(MenuEntry(id_, dict(line.partition("=")[::2] for line in rest)))
    return entries


def _made_menu_holds(entries: list[MenuEntry]) -> None:
    made = appmenu.render(entries)
    for line in made.left_out:
        check_text(line)
    assert made.reply.isascii()
    found = MenuEntries.parse(made.reply)
    assert not found.dropped, f"dom0 drops a part of {made.reply!r}"
    assert {one.id for one in found} <= {one.id for one in entries}


def _path_holds(path: str | None) -> None:
    if path is not None and path == path.strip() and "../" not in path:
        assert selectedpath.parse(selectedpath.render(path)) == path


def _templates_hold(found: list[template.Template]) -> None:
    for one in found:
        for text in (one.package, one.repository, one.license, one.url, one.summary, one.description):
            check_text(text)


def _memory(text: str) -> int:
    used = memory.parse_report(text)
    return used


def _memory_holds(used: int) -> None:
    if used < 10**15:
        assert memory.parse_report(memory.render_kb(used)) == used


def _meminfo_holds(value: memory.Meminfo) -> None:
    assert memory.Meminfo.parse(value.render()) == value
    assert value.used >= 0 <= value.swap_used
    assert value.of_total(value.total + 1).used == value.used + 1


def _blocks(data: bytes) -> list[BlockDevice]:
    """Read entries: of each the name in a line, then lines with its keys."""
    found = []
    for piece in Pieces(data).pieces():
        name, _, rest = piece.partition(b"\n")
        found.append(BlockDevice.parse(as_text(name), text_pairs(rest)))
    return found


def _blocks_hold(found: list[BlockDevice]) -> None:
    blocks = {device.name: device for device in found}
    usb = {"2-1": UsbDevice.parse("2-1", USB), "3-1": UsbDevice.parse("3-1", {"interfaces": "x"})}
    for device in found:
        again = BlockDevice.parse(device.name, device.render())
        assert replace(again, assumed={}) == replace(device, assumed={})
        for text in (*device.assumed.values(), device.desc, device.parent, blockdevice.stored_desc(device.desc)):
            check_text(text)
        if (identity := deviceid.of_block(device, blocks, usb)) is not None:
            check_text(identity)


def _usb(data: bytes) -> UsbDevice:
    name, _, rest = data.partition(b"\n")
    return UsbDevice.parse(as_text(name), text_pairs(rest))


def _usb_holds(device: UsbDevice) -> None:
    again = UsbDevice.parse(device.name, {**device.render(), "connected-to": device.connected_to})
    assert replace(again, assumed={}) == replace(device, assumed={})
    for text in (*device.assumed.values(), device.description, device.ids, device.port_id, *device.identity):
        check_text(text)
    assert all(len(code) >= 6 for code in device.interface_codes)
    if (identity := deviceid.of_usb(device)) is not None:
        check_text(identity)
    field = usbdevice.escape(device.desc)
    check_text(field)
    assert (
        usbdevice.resolve(field) == usbdevice.resolve(device.desc.replace("\\", "\\x5c")) or not device.desc.isascii()
    )


def _descriptors_hold(codes: str) -> None:
    assert len(codes) <= 512
    assert not UsbDevice.parse("1-1", {"usb-ver": "2", "interfaces": codes}).assumed


def _xrandr(text: str) -> Any:
    screen = Screen.parse(text)
    assert screen.monitors == screen.outputs or all(one.name.startswith("DUMMY") for one in screen.monitors)
    outputs(text)
    return layout_of_dom0(text)


def _files(data: bytes) -> Any:
    """Read a list of files, in pieces of a size that the first byte says."""
    size = 1 + data[0] if data else 1
    listed = FileList("work", b"/home")
    for start in range(1, len(data), size):
        listed.write(data[start : start + size])
    return listed.tree()


def _printed(data: bytes) -> str:
    return _lines(data)


def _printed_holds(text: str) -> None:
    for line in text.split("\n"):
        check_text(line)


TARGETS: tuple[Target, ...] = (
    bytes_target(
        "values.appmenu", MenuEntries.parse, MENU + b"firefox.desktop:Categories=Network;WebBrowser;Bogus;\n\n",
        b"/usr/share/applications/firefox.desktop:Name=x\n", b"a.desktop:Name=Bad;Name\n", b"a b.desktop:Name=x\n",
        b"a.desktop:#x\n", b".desktop:Name=x\n", b"a:Name[de_DE@x] = y\n", b"\xff:Name=x\n", b"a:Name=;\n" * 21,
        b"a:" + b"x" * 1100 + b"\na:Comment=", b"a:Exec=\na:GenericName=a  b\n", holds=_menu_holds,
        words=".desktop: :Name= :Exec= :Icon= :Categories= :Comment= :StartupWMClass= Network; # ; [de]",
    ),
    bytes_target(
        "values.appmenu-made", _made_menu, in_pieces([b"a\nName=x\nExec=y %u", b"b\nName=\xc5\xbb\xc3\xb3\xc5\x82w",
            b"c/d\nName=x"]),
        in_pieces([b"a\nName=\x1b", b"a\nName=" + b"x" * 1100, b"a\nX=y\nIcon=", b".desktop\nName=x"]),
        holds=_made_menu_holds,
        words="Name= GenericName= Comment= Exec= Icon= Categories= StartupWMClass= .desktop",
        more_words=("…".encode(), "ß".encode(), "Ł".encode(), "漢".encode(), b"\n"),
    ),
    bytes_target(
        "values.selectedpath", selectedpath.parse, b"/home/user/a.txt\n", b"\n", b"/a/../b\n", b"\xff", b"x" * 600,
        b" /a \n",
        b"/a../b", holds=_path_holds, words="/.. ../ : ( )",
    ),
    text_target(
        "values.selectedpath-made", selectedpath.render, None, "/home/a", " a", "a/../b", "", "é", words="../ /..",
    ),
    bytes_target(
        "values.template", template.parse_reply, ROW, ROW.replace(b"qubes-template-debian-13", b"bash") + ROW,
        b"a|b|c\n",
        ROW.replace(b"2025-01-01 00:00", b"1735689600"), ROW.replace(b"2025-01-01", b"2025-13-01"),
        ROW.replace(b"|12|", b"|x|"),
        ROW.replace(b"1735", b"99999999999"), b"", b"qubes-template-x|1|\n", ROW.replace(b"00:00", b"x"), b"|\n" * 30,
        ROW.replace(b"2025-01-01 00:00", b"99999999999"), holds=_templates_hold, words="| qubes-template- 2025-01-01",
    ),
    text_target(
        "values.memory", _memory, None, "210000", "210000\n", MEMINFO, "1" * 16, "", holds=_memory_holds, words="kB :",
    ),
    text_target(
        "values.meminfo", memory.Meminfo.parse, None, MEMINFO, f"{MEMINFO}MemFree: 1 kB\n", "MemTotal: 1 kB\n",
        "x" * 4097,
        MEMINFO.replace("400000", "1"), MEMINFO.replace("990000", "9900000"), "HugePages: 0\n" + MEMINFO,
        MEMINFO.replace(" kB", ""), holds=_meminfo_holds,
        words="MemTotal: MemFree: Buffers: Cached: SwapTotal: SwapFree: kB",
    ),
    bytes_target(
        "values.blockdevice", _blocks, in_pieces([b"sda1\n" + in_pairs(BLOCK),
            b"sda\ndesc=X\nsize=1\nmode=r\nparent=2-1:1.0"]),
        in_pieces([b"dm-0"]), in_pieces([b"x1\nparent=x1"]),
        in_pieces([b"sdb\nparent=3-1:1.0", b"sdc\nparent=9-9:1.0"]),
        in_pieces([b"a\nparent=b", b"b\nparent=a", b"SDA"]),
        in_pieces([b"a1\ndesc=\xc3\xa9\nsize=x\nmode=q\ndevice=/dev/../x"]),
        holds=_blocks_hold, words="desc= size= mode= device= parent= /dev/ 2-1:1.0 sda",
    ),
    bytes_target(
        "values.usbdevice", _usb, b"2-1_4\n" + in_pairs(USB), b"2-1\ndesc=046d:c52b a_b_c\nusb-ver=3", b"2-1", b"x",
        b"1-1\ndesc=a:b c d unknown\ninterfaces=:zz:\nconnected-to=-x", b"1-1\ndesc=046d:c52b \\x4 \\q \\x",
        b"1-1\nusb-ver=x",
        b"1-1\ndesc=\xff\ninterfaces=:03:0301011:", holds=_usb_holds,
        words=r"desc= usb-ver= interfaces= connected-to= \x20 \x : _",
    ),
    bytes_target("values.usbdescriptors", usbdescriptors.interfaces, _DESCRIPTORS, _DESCRIPTORS[:20], b"\2\4",
        b"\0" * 20,
        b"".join(bytes([9, 4, 0, 0, 1, n, 6, 0x50, 0]) for n in range(80)), holds=_descriptors_hold),
    text_target(
        "values.xrandr", _xrandr, None, XRANDR, "", "X connected 0x0+0+0\n", "default connected 1280x800+0+0\n",
        "X-1 connected 1920x1080+0+0 (normal) 0mm x 9mm\n", "X-1 connected 1920x1080+0+0 (normal) 160mm x 9mm\n",
        "X-1 connected 9x9+0+0 right (normal) 0mm x 0mm\n\tWIDTH_MM: 0\n\tHEIGHT_MM: 0\n", "A connected 1x1+0+0\n" * 17,
        "X-1 connected 1920x1080+0+0 (normal) 310mm x 9mm\nX\tconnected 9", "X disconnected 10x10+1+1\n\tWIDTH_MM: 5\n",
        words="connected disconnected unknown connection primary + mm x WIDTH_MM: HEIGHT_MM: DUMMY0 left right"
            " Screen maximum *",
    ),
    bytes_target(
        "dom0.filelist", _files, b"\x40" + b"0" * 64 + b"  /home/a\0\0d/home/b\0\0l/home/c\0target\0", b"\1\0",
        b"\0x\0",
        b"\xff" + b"a" * 64 + b"  /x\0\0f", words="d/ l/ f/ /home",
    ),
    bytes_target("dom0.printed", _printed, b"a\nb\r\n\x1b[2J\xff", holds=_printed_holds, errors=(VMInterfaceError,)),
)  # fmt: skip
