"""What a VM's agent and handlers read: dom0's keys, sysfs, udev's database, what programs print, their own records."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.fuzz.pieces import Pieces, in_pairs, in_pieces, pairs, text_pairs
from tests.fuzz.store import MemoryStore, in_values, values_of
from tests.fuzz.target import Target, bytes_target, check_text
from tests.fuzz.targets.network import CLIENT, PROVIDER
from tests.support.memorymachine import MemoryMachine
from vminterface.errors import VMInterfaceError
from vminterface.values.blockdevice import BlockDevice
from vminterface.values.service import ServiceName
from vminterface.values.usbdevice import UsbDevice
from vminterface.vm.agent import keys as agent_keys
from vminterface.vm.apply import debug, keyboard, name, network, provider, services, timezone
from vminterface.vm.handlers.desktop import sessionbus
from vminterface.vm.machine import backends
from vminterface.vm.net import iproute2, resolvers
from vminterface.vm.net.linkstate import Link
from vminterface.vm.report import blockdevices, memory, udev, usbdevices

_MACHINE = {
    "/usr/share/zoneinfo/Europe/Warsaw": b"TZif2", "/etc/debian_version": b"12",
    "/etc/hosts": b"127.0.1.1 old # x\n::1 localhost\n",
    "/run/qubes-service-environment": b"X=1\n",
}  # fmt: skip
_STEPS: tuple[tuple[Callable[..., str], str, dict[str, str]], ...] = (
    (timezone.apply, "timezone", {"timezone": "Europe/Warsaw"}),
    (services.apply, "services", {"services:cups": "1", "services:\x1b": "0", "services:x": "2"}),
    (keyboard.apply, "keyboard", {"keyboard": "de+nodeadkeys+compose:caps"}),
    (keyboard.apply, "keymap", {"keymap": 'xkb_keymap { xkb_symbols { include "pc+us" }; };'}),
    (debug.apply, "debug", {"debug": "1"}),
    (name.apply, "name", {"name": "work"}),
    (network.apply, "network", {f"network:{field}": text for field, text in CLIENT.items()}),
    (provider.apply, "provider", {f"provides_network:{field}": text for field, text in PROVIDER.items()}),
)
#: The records of earlier applications, which another program may have damaged.
_RECORDS = (services.STATE, network.STATE, provider.STATE)
_IP_LINKS = (
    b'[{"ifname":"eth0","address":"00:16:3e:5e:6c:00","flags":["UP"],"group":"0",'
    b'"addr_info":[{"local":"10.1.1.1","prefixlen":32}],"dst":"default","lladdr":"x"}]'
)


def _apply(data: bytes) -> tuple[str, MemoryMachine]:
    """Apply a setting, which the first byte chooses: pieces with its keys, a record of earlier, what programs print."""
    pieces = Pieces(data)
    apply, _, _ = _STEPS[pieces.byte() % len(_STEPS)]
    inputs, record, printed = text_pairs(pieces.piece()), pieces.piece(), pieces.rest()
    files = {**_MACHINE, **(dict.fromkeys(_RECORDS, record) if record else {})}
    programs: dict[str, bytes | VMInterfaceError] = dict.fromkeys(("ip", "nft", "hostname"), printed) if printed else {}
    machine = MemoryMachine(files, programs)
    return apply(inputs, machine), machine


def _apply_holds(found: tuple[str, MemoryMachine]) -> None:
    note, machine = found
    check_text(note.replace("\n", " "))
    for path in machine.files:
        assert ".." not in path.split("/")
        assert path.startswith(("/etc/", "/run/", "/usr/")), f"it wrote {path!r}"
    folder = f"{services.FOLDER}/"
    for path in machine.files:
        if path.startswith(folder):
            ServiceName.parse(path.removeprefix(folder))


def _apply_seed(
    number: int, inputs: Mapping[str, str] | None = None, record: bytes = b"", printed: bytes = b""
) -> bytes:
    return (
        bytes([number]) + in_pieces([in_pairs({**(_STEPS[number][2] if inputs is None else inputs)}), record]) + printed
    )


def _agent_keys(data: bytes) -> agent_keys.Reading:
    return agent_keys.read(MemoryStore(values_of(data, "")), ["vminterface/agent", "vminterface/ack/timezone"])


def _toolstack(data: bytes) -> Any:
    lines: list[str] = []
    found = backends.read(MemoryStore(values_of(data, "backend/vif/")), lines.append)
    for line in lines:
        check_text(line.partition(": ")[2])
    return found


def _sysfs(data: bytes) -> MemoryMachine:
    """Return a machine of the files in *data*, lines ``PATH=CONTENT``; a path without a slash in front is in sysfs."""
    return MemoryMachine(
        {path if path.startswith("/") else f"/sys/{path}": value for path, value in pairs(data).items()}
    )


def _usb_devices(data: bytes) -> dict[str, dict[str, str]]:
    return usbdevices.read(_sysfs(data))


def _usb_devices_hold(found: dict[str, dict[str, str]]) -> None:
    for port, entry in found.items():
        device = UsbDevice.parse(port, entry)
        for text in entry.values():
            check_text(text)
            assert len(text) <= 4000
        check_text(device.description)


def _block_devices(data: bytes) -> dict[str, dict[str, str]]:
    return blockdevices.read(_sysfs(data), frozenset({"8:2"}))


def _block_devices_hold(found: dict[str, dict[str, str]]) -> None:
    for device, entry in found.items():
        parsed = BlockDevice.parse(device, entry)
        assert not parsed.assumed.keys() - {"parent"}, f"{entry!r} is reported, and read as {parsed!r}"
        for text in entry.values():
            assert len(text) <= 3071
        check_text(entry["desc"])


def _udev(data: bytes) -> dict[str, str] | None:
    return udev.properties(MemoryMachine({"/run/udev/data/b8:0": data}), "b8:0")


def _resolvers(data: bytes) -> Any:
    """Ask for the resolvers of a machine whose programs print *data*: busctl, a NUL, resolvectl, a NUL, the file."""
    bus, by_tool, conf, *_ = (*data.split(b"\0"), b"", b"")
    programs: dict[str, bytes | VMInterfaceError] = {"busctl": bus, "resolvectl": by_tool}
    return resolvers.current(MemoryMachine({resolvers.RESOLVED: b"", resolvers.RESOLV_CONF: conf}, programs))


def _resolvers_hold(found: Any) -> None:
    assert len({*found}) == len(found)
    assert not any(address.is_loopback or address.is_multicast for address in found)


def _ip(data: bytes) -> list[object]:
    """Read what ``ip -j`` prints, whatever it is asked."""
    machine = MemoryMachine(programs={"ip": data})
    return [iproute2.links(machine), iproute2.read(machine, "eth0")]


def _ip_holds(found: list[object]) -> None:
    assert isinstance(found[1], Link)
    json.dumps(found[1].words())


def _release(data: bytes) -> bool:
    return memory.wants_lines(MemoryMachine({"/etc/qubes-release": data}))


def _process(data: bytes) -> int:
    return sessionbus.activate(MemoryMachine(programs={"busctl": data}), "org.example.Viewer")


_BLOCK = in_pairs({
    "class/block/sda/dev": "8:0", "class/block/sda/size": "2048", "class/block/sda/ro": "0", "/dev/sda": "",
    "class/block/sda1/dev": "8:1",
    "class/block/sda1/partition": "1", "class/block/sda1/size": "1024", "/dev/sda1": "",
    "/run/udev/data/b8:1": "E:ID_FS_LABEL=x\\nE:ID_MODEL=Ultra",
    "/proc/swaps": "Filename\\n/dev/sdb partition", "/proc/self/mountinfo": "36 35 8:9 / / rw - ext4 /dev/mapper/x rw",
    "class/block/sda/device/model": "M",
    "class/block/loop0/dev": "7:0", "class/block/loop0/loop/backing_file": "/home/user/a b\\n",
    "class/block/loop0/size": "8", "/dev/loop0": "",
})  # fmt: skip
_USB = in_pairs({
    "bus/usb/devices/2-1.4/idVendor": "046d", "bus/usb/devices/2-1.4/idProduct": "c52b",
    "bus/usb/devices/2-1.4/bDeviceClass": "00",
    "bus/usb/devices/2-1.4/version": " 2.00", "bus/usb/devices/2-1.4/dev": "189:3",
    "bus/usb/devices/2-1.4/manufacturer": "Logi",
    "bus/usb/devices/2-1.4/product": "R é", "bus/usb/devices/2-1.4/serial": " a  b ",
})  # fmt: skip
_KNOWN = "\n/run/udev/data/c189:3=" + "\\n".join((
    "E:ID_VENDOR_ENC=L",
    r"E:ID_MODEL_ENC=U\x20R", "E:ID_SERIAL=x", "E:ID_SERIAL_SHORT=a b",
    "E:ID_USB_INTERFACES=:030101:",
))  # fmt: skip

TARGETS: tuple[Target, ...] = (
    bytes_target(
        "vm.apply", _apply, *(_apply_seed(number) for number in range(len(_STEPS))),
        *(_apply_seed(number, {}) for number in range(len(_STEPS))),
        *(_apply_seed(number, None, b"", _IP_LINKS) for number in (6, 7)),
        _apply_seed(1, None, b'{"names": ["x", "y"], "made_defaults": true}'), _apply_seed(1, None, b"[" * 50),
        _apply_seed(6, {},
            b'{"interface": "eth0", "addresses": [], "routes": [], "neighbours": [], "resolv_conf": "x", "keyfile":'
            b' true}', _IP_LINKS), _apply_seed(7, {}, b"{}", _IP_LINKS),
        _apply_seed(7, {},
            b'{"rules": "x", "marks": {}, "elements": [["vif1.0", "1.2.3.4"]], "links": {}, "ipv6": false}',
            b'{"nftables": []}'),
        holds=_apply_holds,
        words="timezone= services:cups= keyboard= keymap= debug= name= network:ip= network:gateway="
            " provides_network:gateway= ../ [ ] { }",
    ),
    bytes_target("vm.agentkeys", _agent_keys, in_values({"qubes-timezone": "UTC", "qubes-service/cups": "1",
        "vminterface/agent": "x", "qubes-ip": b"\0", "vminterface/push": "writing 7"}),
        in_values({"qubes-service/\x1b": b"\xff", "qubes-service/a/b": "1"}),
        words="qubes-timezone qubes-service/ vminterface/ack/timezone vminterface/push"),
    bytes_target("vm.toolstack", _toolstack, in_values({"5/0/mac": "00:16:3e:5e:6c:01",
        "5/0/ip": "10.137.0.12 fd09::c"}), in_values({"x/y/ip": b"\xff", "6/0/mac": b"\0"}),
        words="5/0/mac 5/0/ip 10.137.0.12"),
    bytes_target("vm.usbdevices", _usb_devices, _USB, _USB + _KNOWN.encode(), _USB.replace(b"2-1.4", b"1-1"),
        _USB.replace(b"00\n", b"09\n"), _USB.replace(b"Logi", b"QEMU"),
        _USB + b"\nbus/usb/devices/2-1.4/descriptors=\x12\1", _USB.replace(b" a  b ", b"a\\x41\\b"),
        holds=_usb_devices_hold,
        words="bus/usb/devices/ /serial= /idVendor= /version= /run/udev/data/c189:3= E:ID_VENDOR_ENC= E:ID_SERIAL="
            " E:QUBES_EXPORT_USB_DEVICE=0"),
    bytes_target("vm.blockdevices", _block_devices, _BLOCK,
        _BLOCK + b"\nclass/block/sda/holders/dm-0=\nclass/block/dm-0/dm/name=x\nclass/block/dm-0/dev=254:0\n"
            b"/dev/dm-0=\nclass/block/dm-0/size=8",
        _BLOCK.replace(b"8:0", b"11:0"), _BLOCK.replace(b"8:0", b"202:0"),
        _BLOCK + b"\n/run/udev/data/b8:0=E:UDISKS_IGNORE=1",
        _BLOCK + b"\nclass/block/nbd0/dev=43:0\n/dev/nbd0=\nclass/block/nbd0/pid=1",
        holds=_block_devices_hold,
        words="class/block/ /dev= /size= /ro= /partition= /dm/name= /loop/backing_file= /run/udev/data/b8:0="
            " E:ID_MODEL= E:ID_CDROM_MEDIA=1 /proc/self/mountinfo= \\040"),
    bytes_target("vm.udev", _udev, b"I:1\nE:ID_MODEL=x\nE:A=B=C\nG:seat\n", b"E:", words="E: ="),
    bytes_target("vm.resolvers", _resolvers,
        b'{"type": "a(iiay)", "data": [[0, 2, [10, 139, 1, 1]], [3, 10, [253,9,0,0,0,0,0,0,0,0,0,0,0,0,0,1]]]}\0\0',
        b"x\0Global: 192.0.2.9\nLink 2 (eth0): 192.0.2.7#x fd09::1\0",
        b"x\0\0nameserver 9.9.9.9\nnameserver fe80::1%eth0", b'{"data": [[1]]}\0x\0',
        b'{"data": [[null, 2, [1]]]}\0\0', b'{"data": [[1e999, 2, [1,2,3,4]]]}', holds=_resolvers_hold,
        words='{"data":[ ]} [0,2,[ [3,10,[ null 1e999 Global: Link 2 (eth0): nameserver 256'),
    bytes_target("vm.iproute2", _ip, _IP_LINKS, b"[]", b"x", b'[{"ifname":"eth0"}]', b"{}", b"[7]", b"[" * 1000,
        holds=_ip_holds,
        words='"ifname":"eth0" "flags": "addr_info":[ "local": "prefixlen": "group": "dst": "metric": "onlink"'
            ' "protocol": "lladdr": null [ ] { }'),
    bytes_target("vm.release", _release, b"Qubes release 3.2 (R3.2)\n", b"# R2\n4.3", b"R99", words="release R2 R3"),
    bytes_target("vm.busreply", _process, b"u 123\n", b"u x", b"s 1", b"", words="u 1"),
)  # fmt: skip
