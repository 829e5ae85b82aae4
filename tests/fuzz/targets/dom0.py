"""What dom0 reads of its daemons and of VMs' keys: qubesd's replies, reports, acknowledgements, records."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from tests.fuzz.pieces import Pieces, plain
from tests.fuzz.store import MemoryStore, in_values, values_of
from tests.fuzz.target import Target, as_text, bytes_target, check_error, check_text
from tests.fuzz.targets.replies import BLOCK, MEMINFO, USB
from tests.fuzz.targets.wire import ONE_FILE, TREE
from tests.support.qfilestream import END, file, folder, raw
from vminterface import keys
from vminterface.channel import adminapi
from vminterface.channel.adminapi import AdminAPI, Line
from vminterface.channel.qrexec import daemon, policy
from vminterface.dom0.desired import words
from vminterface.dom0.inventory import observed
from vminterface.dom0.inventory.targets import Target as VMTarget
from vminterface.dom0.menu import entries
from vminterface.dom0.notices import record
from vminterface.dom0.reports import devices, table
from vminterface.dom0.results import inwords, returns, servicelist
from vminterface.dom0.transfer.unpack import Arrival, Limits
from vminterface.errors import InvalidValue, VMInterfaceError
from vminterface.values.acknowledgement import digest
from vminterface.values.appmenu import MenuEntries

#: Where files cost no disk.
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
HOME = "/local/domain/3/"
_ERRORS = (
    "QubesVMNotFoundError",
    "PermissionDenied",
    "QubesException",
    "QubesValueError",
    "QubesDaemonCommunicationError",
)


class _App:
    """Qubes' client, whose every call gets the same reply, or fails as the reply says after its first byte ``2``."""

    def __init__(self, reply: bytes) -> None:
        self._reply = reply

    def qubesd_call(self, *call: object) -> bytes:
        if self._reply[:1] == b"2":
            name = _ERRORS[len(self._reply) % len(_ERRORS)]
            bases = (
                (KeyError,) if name == "QubesVMNotFoundError" else (ValueError,) if "Value" in name else (Exception,)
            )
            base = type("QubesException", bases, {})
            raise type(name, (base,), {})(as_text(self._reply[1:]))
        return self._reply


def _qubesd(data: bytes) -> list[Any]:
    """Take *data* for the reply to every call whose reply is read here; raise the first error if none can be read."""
    api = AdminAPI(_App(data), Line("/nonexistent", 1.0))
    calls: tuple[Callable[[], object], ...] = (
        api.domains, lambda: api.feature_with_template("work", "x"), lambda: api.property_default("work", "netvm"),
        lambda: api.firewall_get("work"), lambda: api.volume_size("work", "private"),
    )  # fmt: skip
    found: list[Any] = []
    errors: list[VMInterfaceError] = []
    for call in calls:
        try:
            found.append(call())
        except VMInterfaceError as error:
            check_error(error)
            errors.append(error)
    if not found:
        raise errors[0]
    return found


def _qubesd_holds(found: list[Any]) -> None:
    for one in found:
        if isinstance(one, dict):
            assert all(vm.running in (True, False) and vm.name == name for name, vm in one.items())


def _sent_to_qubesd(data: bytes) -> bytes:
    method, argument, dest, *_ = (*as_text(data).split("\n"), "", "", "")
    return adminapi._request(method, argument, dest, data)


def _policy(data: bytes) -> bool | None:
    socket = mock.patch.dict("os.environ", {policy.SOCKET_VARIABLE: "/"})
    with socket, mock.patch.object(policy, "_exchange", return_value=data):
        return policy.allows("work", "@default", "qubes.Filecopy")


def _no_daemon(data: bytes) -> bool:
    with mock.patch.object(daemon, "_listens", return_value=False):
        return daemon.is_missing("work", 1, as_text(data))


class _Host:
    """A host with one VM, as far as a report looks at it."""

    def __init__(self, store: MemoryStore) -> None:
        self.xenstore = store

    def running(self) -> dict[str, int | None]:
        return {"work": 3}

    def waves(self, vms: list[str]) -> Iterator[list[str]]:
        yield vms

    def of(self, running: object, errors: object = None) -> dict[str, VMTarget]:
        return {"work": VMTarget("work", 3, self.xenstore, HOME)}


def _report(data: bytes) -> Any:
    host: Any = _Host(MemoryStore(values_of(data, HOME)))
    return devices.read(host)


def _report_holds(found: dict[str, devices.Report]) -> None:
    data = {vm: devices.as_data(report) for vm, report in found.items()}
    json.dumps(data)
    shown = table.render(data)
    for line in shown.splitlines():
        check_text(line)
    assert shown.isascii()
    for warning in (*found["work"].warnings,):
        check_text(warning)
        assert len(warning) <= 300
    share = found["work"].used_share
    assert share is None or 0 <= share <= 1


@contextmanager
def _fresh() -> Iterator[None]:
    """Let no answer of one input be that of another."""
    keys._parsed.cache_clear()
    keys.for_name.cache_clear()
    keys.for_field.cache_clear()
    yield


def _observed(data: bytes) -> observed.VMState:
    store = MemoryStore(values_of(data, HOME))
    with _fresh():
        return observed.read([VMTarget("work", 3, store, HOME)])["work"]


def _observed_holds(state: observed.VMState) -> None:
    for shown in (inwords.held(state), inwords.held(state, keys=True), returns.agent_of(state) or {}):
        json.dumps(shown)
        for name, value in shown.items():
            assert all(" " <= c <= "~" for c in name), f"shown as {name!r}"
            check_text(words.line(value))
    for setting in {row.setting for row in keys.TABLE if row.setting}:
        try:
            assert len(digest(state.inputs(setting))) == 16
        except InvalidValue as error:
            check_error(error)
    for acknowledgement in state.acknowledgements.values():
        check_text(acknowledgement.note)
    for field, value in state.values.items():
        assert keys.text_of(field, value) is not None


def _record(data: bytes) -> record.Notices:
    return record._parsed(json.loads(data) if data[:1] == b"{" else plain(data))


def _record_holds(notices: record.Notices) -> None:
    again = record._parsed(json.loads(json.dumps(record.as_data(notices))))
    assert again == notices


def _menu(data: bytes) -> dict[str, Any]:
    """Compare two menus that VMs offer, with a NUL between."""
    first, _, second = data.partition(b"\0")
    before, after = (entries.desired_of(MenuEntries.parse(one)) for one in (first, second))
    assert entries.compare(before, before) == {}
    return entries.compare(before, after)


def _menu_holds(changes: dict[str, Any]) -> None:
    for id_, change in changes.items():
        check_text(id_)
        for text in (change.old, change.new):
            assert text is None or text.isascii()
        assert change.old != change.new or change.old is not None


def _handlers(data: bytes) -> list[str]:
    return sorted({name for one in data.split(b"\0") if (name := servicelist._name(one))})


def _sizes(data: bytes) -> str:
    return table.size(Pieces(data).number(9))


def _arrived(data: bytes) -> list[str]:
    """Let a file copy come into dom0, in two pieces of which the first byte says how long the first is."""
    cut, data = (data[0] if data else 0), data[1:]
    with tempfile.TemporaryDirectory(prefix="vminterface-fuzz-", dir=_MEMORY) as folder, mock.patch("os.fsync"):
        place = os.path.join(folder, "place")
        try:
            with Arrival(place, Limits(total_bytes=1 << 20, entries=50, reserve=0)) as arrival:
                for piece in (data[:cut], data[cut:], b""):
                    arrival.write(piece)
                arrival.put("it")
        except VMInterfaceError:
            assert os.listdir(folder) == [], "something is left of what was refused"
            raise
        assert os.listdir(folder) == ["place"], "something is left beside the place"
        found = [os.path.relpath(os.path.join(top, name), place) for top, _, names in os.walk(place) for name in names]
        assert sorted(found) == sorted(arrival.files), "other files are there than have come"
        for name in found:
            mode = os.lstat(os.path.join(place, name)).st_mode
            assert stat.S_ISREG(mode)
            assert stat.S_IMODE(mode) == 0o600
        return found


def _arrived_holds(found: list[str]) -> None:
    assert all(".." not in name.split("/") and not name.startswith("/") for name in found)


_NAMES = " ".join(
    ("memory/meminfo memory/swapinfo memory/hotplug-max memory/static-max qubes-block-devices/sda/size"
        " qubes-usb-devices/2-1/desc",
     "vminterface/agent vminterface/ack/timezone qubes-service/cups", *(row.name.rstrip("*") for row in keys.TABLE))
)  # fmt: skip
_OK = digest({"timezone": "Europe/Warsaw"})

TARGETS: tuple[Target, ...] = (
    bytes_target(
        "dom0.qubesd", _qubesd,
        b"work class=AppVM state=Running uuid=1\nsys-net class=AppVM state=Halted\ndom0 class=AdminVM state=Running\n",
        b"type=vm sys-firewall", b"pool=x\nsize=2147483648\nusage=1\n", b"\xff", b"", b"2x", b"2xy", b"2xyz", b"2xyzz",
        b"2\x1b[2J\n", b"a class=B\n", b"size=" + b"9" * 30,
        holds=_qubesd_holds, words="class=AppVM state=Running size= type=vm type=bool \xff",
    ),
    bytes_target("dom0.qubesdrequest", _sent_to_qubesd, b"admin.vm.List\n\ndom0", b"a b", b"\xff",
        b"a\nb\nc" + b"x" * 65536, input_max=70_000),
    bytes_target("dom0.policy", _policy, b"result=allow\n", b"result=deny\n", b"\x1b\xff",
        words="result=allow result=deny"),
    bytes_target("dom0.qrexecmissing", _no_daemon, b"connect: No such file or directory",
        b"2026-01-01 10:00:00.123 qrexec-client[12]: f.c:1:g: connect /run/qubes/qrexec.work: Connection refused",
        b"x\r\n", words="connect: qrexec.work : No such file or directory Connection refused"),
    bytes_target(
        "dom0.report", _report,
        in_values({
            "memory/meminfo": MEMINFO, "memory/swapinfo": "10", "memory/static-max": "400000",
            **{f"qubes-block-devices/sda1/{key}": text for key, text in BLOCK.items()},
            **{f"qubes-usb-devices/2-1_4/{key}": text for key, text in USB.items()}, "qubes-block-devices/sdb/x": "1",
        }),
        in_values({"memory/meminfo": b"\xff", "memory/hotplug-max": "x", "qubes-block-devices/SDA/size": "1",
            "qubes-usb-devices/x": ""}),
        in_values({**{f"qubes-block-devices/sd{n}/size": "x" for n in range(30)},
            "qubes-block-devices/sda/parent": "2-1:1.0"}),
        in_values({"memory/meminfo": b"\0", "qubes-block-devices/a": b"\0", "qubes-usb-devices/2-1/desc": b"\0"}), b"",
        holds=_report_holds, words=_NAMES,
    ),
    bytes_target(
        "dom0.observed", _observed,
        in_values({
            "qubes-timezone": "Europe/Warsaw", "vminterface": "",
            "vminterface/agent": "1 1.0 timezone network unaccepted_debug", "qubes-service/cups": "1",
            "vminterface/ack/timezone": f"ok {_OK}", "qubes-ip": "10.137.0.12", "vm-config/mode": b"\x1b",
            "qubes-keyboard": "x", "qubes-vm-updatable": "True",
            "hash-app-dispvm/x": "y", "qubes-netvm-connected": "10.137.0.9,,vif5.0", "qubes-primary-dns": "10.139.1.1",
            "vminterface/ack/debug": f"unaccepted {_OK} no",
        }),
        in_values({"vminterface/ack/timezone": b"\xff", "vminterface/agent": "x", "qubes-timezone": b"\xff\0",
            "qubes-service/\x1b": "2", "vminterface": ""}),
        in_values({"qubes-timezone": b"\0", "name": "work", "type": "x", "keyboard-layout": "us",
            "qubes-debug-mode": "1"}), holds=_observed_holds, words=_NAMES,
    ),
    bytes_target(
        "dom0.notices", _record,
        b'{"features": {"os": "Linux"}, "updates": true, "features_at": "x", "updates_at": ""}',
        b'{"features": {"x!": "y"}}', b'{"updates": 1}',
        b'{"features": []}', b"\0", b"{}", holds=_record_holds,
        errors=(InvalidValue, json.JSONDecodeError, UnicodeDecodeError),
        words='"features" "updates" "features_at" "updates_at" true null { } :',
    ),
    bytes_target("dom0.menu", _menu, b"a.desktop:Name=X\nb:Name=Y\0a.desktop:Name=Z\nc:Name=W\n",
        b"a:Name=X\na:Comment=1\0a:Name=X\na:Comment=2", b"qubes-start:Name=x\0",
        holds=_menu_holds, words=":Name= :Comment= :Categories= .desktop:"),
    bytes_target("dom0.handlers", _handlers, b"qubes.Filecopy\0qubes.VMExec+ls\0x~\0\xff\0", words="qubes. + \0"),
    bytes_target(
        "dom0.arrival", _arrived, b"\x20" + ONE_FILE, b"\x50" + folder(b"d") + file(b"d/a") + folder(b"d") + END,
        b"\0" + file(b"a") + file(b"a") + END, b"\0" + file(b"d/a") + END, b"\0" + TREE, b"\0" + ONE_FILE[:40], b"\0",
        b"\0" + file(b"a") + folder(b"a") + END, b"\0" + raw(b"a", 0o100644, size=1 << 40),
        b"\0" + file(b"x" * 300) + END,
        b"\0" + b"".join(file(b"%d" % n) for n in range(60)), b"\0" + folder(b"a") + file(b"a/" * 2 + b"b") + END,
        holds=_arrived_holds, words="../ d/a a.txt",
    ),
    bytes_target("dom0.sizes", _sizes, b"\0", b"\xff" * 9, b"\0\4", b"\0\0\x10", input_max=9),
)  # fmt: skip
