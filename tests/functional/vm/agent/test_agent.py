"""The agent as a program of its own, in a guest of the real xenstored: what dom0 writes is applied and answered."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from lab.xenstored.fakexen import RealXenstored
from tests.support.stopwatch import Stopwatch
from tests.support.stores import GUEST, HOME, xenstored  # noqa: F401
from tests.support.warm import WarmPython
from vminterface import __version__, keys
from vminterface.channel.xenstore.store import XenStore
from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded, KeyNotFound, QuotaExceeded
from vminterface.values.acknowledgement import Acknowledgement, digest
from vminterface.vm.agent import agent as agent_module
from vminterface.vm.handlers.runtime.owner import SETTINGS
from vminterface.vm.machine.machine import Machine

LIBRARY = Path(agent_module.__file__).parents[3]
ANNOUNCEMENT = f"1 {__version__} {' '.join(sorted(SETTINGS))}".encode()


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until *condition* holds, or fail."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not so in time"
        time.sleep(0.01)


class VM:
    """One guest with its files below a folder, as dom0 and the test see it."""

    def __init__(self, daemon: RealXenstored, root: Path) -> None:
        self.daemon = daemon
        self.root = root
        for zone in ("Europe/Warsaw", "Europe/Paris", "America/Indiana/Indianapolis", "UTC"):
            path = root / "usr/share/zoneinfo" / zone
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"TZif2" + bytes(40))
        (root / "etc").mkdir()
        (root / "etc/debian_version").write_text("12.0\n")
        self.log = root.parent / "agent.log"
        self.agent: subprocess.Popen[bytes] | None = None
        self.start_domain()

    def start_domain(self, may_acknowledge: bool = True) -> None:
        """Do what the toolstack does at the VM's start; *may_acknowledge*: and what a first push does."""
        self.daemon.create(GUEST)
        self.dom0 = XenStore.open(self.daemon.socket_path)
        self.dom0.write(HOME, b"")
        self.dom0.set_permissions(HOME, ["n0", f"r{GUEST}"])
        if may_acknowledge:
            self.give_node()

    def give_node(self) -> None:
        self.dom0.write(f"{HOME}/{keys.ACKNOWLEDGEMENTS}", b"")
        self.dom0.set_permissions(f"{HOME}/{keys.ACKNOWLEDGEMENTS}", [f"n{GUEST}"])

    def start_agent(self) -> None:
        # A network namespace of its own: what the agent does to interfaces stays in it.
        self.agent = WarmPython(
            ["vminterface", "agent", "--root", str(self.root)],
            isolated=True,
            env={
                **os.environ,
                "PYTHONPATH": str(LIBRARY),
                "XENSTORED_PATH": self.daemon.socket(GUEST),
            },
            stderr=self.log.open("wb"),
        )

    def end_agent(self) -> None:
        if self.agent is not None:
            self.agent.kill()
            self.agent.wait()

    def push(self, **texts: str) -> None:
        """Write keys by hand; ``__`` stands for the slash and ``_`` for the dash of their names."""
        for name, text in texts.items():
            self.dom0.write(f"{HOME}/{name.replace('__', '/').replace('_', '-')}", text.encode())

    def said(self, key: str) -> bytes | None:
        return self.dom0.read_many([f"{HOME}/{key}"])[0]

    def reply(self, setting: str, inputs: dict[str, str], seconds: float = 10.0) -> Acknowledgement:
        """Wait for the answer to exactly *inputs*."""
        key = f"{HOME}/{keys.acknowledgement(setting)}"
        desired = digest(inputs).encode()
        value = self.dom0.wait_for(key, lambda v: v is not None and desired in v, timeout=seconds)
        assert value is not None
        return Acknowledgement.parse(value.decode())

    @property
    def zone(self) -> str:
        link = self.root / "etc/localtime"
        return os.readlink(link).removeprefix("../usr/share/zoneinfo/") if link.is_symlink() else ""

    def service(self, name: str) -> bool:
        return (self.root / "run/qubes-service" / name).exists()


@pytest.fixture
def vm(xenstored: RealXenstored, tmp_path: Path) -> Iterator[VM]:  # noqa: F811
    (tmp_path / "vm").mkdir()
    machine = VM(xenstored, tmp_path / "vm")
    try:
        yield machine
    finally:
        machine.end_agent()
        machine.dom0.close()


def test_what_is_in_the_store_at_the_start_is_applied_and_acknowledged(vm: VM) -> None:
    vm.push(qubes_timezone="Europe/Warsaw", qubes_service__cups="1", name="work")
    vm.start_agent()
    reply = vm.reply("timezone", {"timezone": "Europe/Warsaw"})
    assert reply.accepted
    assert reply.note == "time zone Europe/Warsaw"
    assert vm.zone == "Europe/Warsaw"
    assert (vm.root / "etc/timezone").read_text() == "Europe/Warsaw\n"
    assert vm.reply("services", {"services:cups": "1"}).accepted
    assert vm.service("cups")
    assert vm.reply("name", {"name": "work"}).accepted
    assert (vm.root / "etc/hostname").read_text() == "work\n"


def test_a_change_is_applied_while_the_agent_runs(vm: VM) -> None:
    vm.start_agent()
    until(lambda: vm.said(keys.AGENT) == ANNOUNCEMENT)
    vm.push(qubes_timezone="America/Indiana/Indianapolis", qubes_debug_mode="1")
    assert vm.reply("timezone", {"timezone": "America/Indiana/Indianapolis"}).accepted
    assert vm.zone == "America/Indiana/Indianapolis"
    assert vm.reply("debug", {"debug": "1"}).accepted
    assert (vm.root / "run/qubes-service-environment").read_text() == "GUI_OPTS=-vv\n"


def test_a_lasting_zone_goes_before_the_one_that_every_vm_is_given_at_its_start(vm: VM) -> None:
    vm.push(qubes_timezone="Europe/Warsaw")
    vm.dom0.write(f"{HOME}/vm-config/vminterface-timezone", b"America/Indiana/Indianapolis")
    vm.start_agent()
    both = {"timezone": "Europe/Warsaw", "lasting:timezone": "America/Indiana/Indianapolis"}
    assert vm.reply("timezone", both).accepted
    assert vm.zone == "America/Indiana/Indianapolis"
    vm.dom0.remove(f"{HOME}/vm-config/vminterface-timezone")
    assert vm.reply("timezone", {"timezone": "Europe/Warsaw"}).accepted
    assert vm.zone == "Europe/Warsaw"


def test_settings_without_keys_are_neither_touched_nor_acknowledged(vm: VM) -> None:
    vm.push(qubes_timezone="UTC")
    vm.start_agent()
    vm.reply("timezone", {"timezone": "UTC"})
    until(lambda: vm.said(keys.AGENT) == ANNOUNCEMENT)
    assert vm.dom0.list(f"{HOME}/{keys.ACKNOWLEDGEMENTS}/ack") == ["timezone"]
    assert not (vm.root / "run/qubes-service").exists()


def test_a_bad_value_is_refused_with_its_reason_and_the_old_state_stays(vm: VM) -> None:
    vm.push(qubes_timezone="Europe/Warsaw", qubes_service__cups="1")
    vm.start_agent()
    vm.reply("timezone", {"timezone": "Europe/Warsaw"})
    vm.push(qubes_timezone="../../../etc/shadow")
    refused = vm.reply("timezone", {"timezone": "../../../etc/shadow"})
    assert not refused.accepted
    assert "../../../etc/shadow" in refused.note
    assert vm.zone == "Europe/Warsaw"
    assert vm.service("cups")
    vm.push(qubes_timezone="Europe/Nowhere")
    assert "Europe/Nowhere" in vm.reply("timezone", {"timezone": "Europe/Nowhere"}).note


def test_a_service_that_does_not_parse_is_ignored_and_named_and_the_others_are_applied(vm: VM) -> None:
    vm.start_agent()
    odd = {"getty@tty": "1", "cups": "yes"}
    for name, value in odd.items():
        vm.dom0.write(f"{HOME}/qubes-service/{name}", value.encode())
    vm.push(qubes_service__crond="1")
    reply = vm.reply("services", {**{f"services:{name}": value for name, value in odd.items()}, "services:crond": "1"})
    assert reply.accepted
    assert reply.note == "ignored: 'cups' (neither 0 nor 1), 'getty@tty' (not a valid service name); on: crond"
    assert vm.service("crond")
    assert not vm.service("cups")
    assert not vm.service("getty@tty")
    vm.push(qubes_service__cups="1")
    assert vm.reply("services", {"services:getty@tty": "1", "services:cups": "1", "services:crond": "1"}).accepted
    assert vm.service("cups")


def test_bytes_that_are_no_text_are_refused_and_shown_escaped(vm: VM) -> None:
    vm.start_agent()
    value = b"Europe/\xff\x1b[31m"
    vm.dom0.write(f"{HOME}/qubes-timezone", value)
    reply = vm.reply("timezone", {"timezone": value.decode("utf-8", "surrogateescape")})
    assert not reply.accepted
    assert "\\x1b[31m" in reply.note


def test_a_service_whose_key_is_removed_goes_back_to_the_default(vm: VM) -> None:
    vm.push(qubes_vm_type="AppVM", qubes_service__tracker="0", qubes_service__cups="1")
    vm.start_agent()
    vm.reply("services", {"services:tracker": "0", "services:cups": "1"})
    assert not vm.service("tracker")
    assert vm.service("meminfo-writer")
    vm.dom0.remove(f"{HOME}/qubes-service")
    assert vm.reply("services", {}).accepted
    assert vm.service("tracker")
    assert not vm.service("cups")


def test_keys_that_nobody_knows_are_ignored(vm: VM) -> None:
    for name in ("junk", "qubes-timezones", "qubes-timezone/below", "memory/target", "qubes-usb-devices/x/y"):
        vm.dom0.write(f"{HOME}/{name}", b"\x00\xff" * 40)
    vm.dom0.write(f"{HOME}/qubes-timezone", b"UTC")
    vm.start_agent()
    assert vm.reply("timezone", {"timezone": "UTC"}).accepted
    assert vm.agent is not None
    assert vm.agent.poll() is None


def test_two_hundred_rapid_changes_end_in_the_last_one(vm: VM) -> None:
    vm.start_agent()
    until(lambda: vm.said(keys.AGENT) == ANNOUNCEMENT)
    for i in range(200):
        vm.push(qubes_timezone=("Europe/Paris", "Europe/Warsaw")[i % 2], qubes_service__cups=str(i % 2))
    assert vm.reply("timezone", {"timezone": "Europe/Warsaw"}).accepted
    vm.reply("services", {"services:cups": "1"})
    time.sleep(0.2)
    assert vm.zone == "Europe/Warsaw"
    assert vm.service("cups")
    assert vm.reply("timezone", {"timezone": "Europe/Warsaw"}).accepted


def test_an_answer_that_gets_lost_is_written_again(vm: VM) -> None:
    vm.push(qubes_timezone="UTC")
    vm.start_agent()
    vm.reply("timezone", {"timezone": "UTC"})
    vm.dom0.write(f"{HOME}/{keys.acknowledgement('timezone')}", b"something else")
    vm.reply("timezone", {"timezone": "UTC"})
    with suppress(KeyNotFound):
        vm.dom0.remove(f"{HOME}/{keys.ACKNOWLEDGEMENTS}")
    vm.give_node()
    vm.reply("timezone", {"timezone": "UTC"})
    until(lambda: vm.said(keys.AGENT) == ANNOUNCEMENT)


def test_what_found_no_room_in_the_store_is_written_once_there_is_some(vm: VM) -> None:
    own = f"{HOME}/{keys.ACKNOWLEDGEMENTS}/own"
    with XenStore.open(vm.daemon.socket(GUEST), window=16) as guest:
        with suppress(QuotaExceeded):
            for number in count():
                # A node may not have too many below it either.
                guest.write(f"{own}/{number // 100}/{number}", b"")
        vm.push(qubes_timezone="Europe/Warsaw")
        vm.start_agent()
        until(lambda: "cannot be written: " in vm.log.read_text())
        until(lambda: vm.zone == "Europe/Warsaw")
        assert vm.said(keys.AGENT) is None
        guest.remove(own)
    assert vm.reply("timezone", {"timezone": "Europe/Warsaw"}).accepted
    until(lambda: vm.said(keys.AGENT) == ANNOUNCEMENT)


def test_without_a_place_for_answers_settings_are_applied_and_answered_once_there_is_one(vm: VM) -> None:
    vm.dom0.remove(f"{HOME}/{keys.ACKNOWLEDGEMENTS}")
    vm.push(qubes_timezone="Europe/Warsaw")
    vm.start_agent()
    until(lambda: vm.zone == "Europe/Warsaw")
    vm.push(qubes_timezone="Europe/Paris")
    until(lambda: vm.zone == "Europe/Paris")
    assert vm.log.read_text().count("dom0 did not create the key") == 1
    vm.give_node()
    assert vm.reply("timezone", {"timezone": "Europe/Paris"}).accepted
    until(lambda: vm.said(keys.AGENT) == ANNOUNCEMENT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_within_a_second(vm: VM, number: signal.Signals) -> None:
    vm.push(qubes_timezone="UTC")
    vm.start_agent()
    until(lambda: vm.said(keys.AGENT) == ANNOUNCEMENT)
    assert vm.agent is not None
    began = Stopwatch()
    vm.agent.send_signal(number)
    assert vm.agent.wait(5) == 0
    began.check(1.0)
    assert vm.said(keys.AGENT) is None
    assert vm.said(keys.acknowledgement("timezone")) is not None
    assert "Traceback" not in vm.log.read_text()


def test_a_signal_ends_it_while_there_is_no_store(vm: VM) -> None:
    vm.start_agent()
    until(lambda: vm.said(keys.AGENT) == ANNOUNCEMENT)
    vm.dom0.close()
    vm.daemon.stop()
    until(lambda: "next attempt" in vm.log.read_text())
    assert vm.agent is not None
    began = Stopwatch()
    vm.agent.terminate()
    assert vm.agent.wait(5) == 0
    began.check(1.0)


def test_a_daemon_that_dies_and_comes_back_empty_undoes_nothing_and_is_served_again(vm: VM) -> None:
    vm.push(qubes_timezone="Europe/Warsaw", qubes_service__cups="1")
    vm.start_agent()
    vm.reply("services", {"services:cups": "1"})
    vm.reply("timezone", {"timezone": "Europe/Warsaw"})
    vm.dom0.close()
    vm.daemon.stop()
    until(lambda: "next attempt" in vm.log.read_text())
    vm.daemon.start()
    vm.start_domain()
    until(lambda: vm.said(keys.AGENT) == ANNOUNCEMENT)
    assert vm.service("cups")
    assert vm.zone == "Europe/Warsaw"
    vm.push(qubes_service__cups="0", qubes_timezone="Europe/Paris")
    assert vm.reply("services", {"services:cups": "0"}).accepted
    assert vm.reply("timezone", {"timezone": "Europe/Paris"}).accepted
    assert not vm.service("cups")
    assert "Traceback" not in vm.log.read_text()


def test_an_interface_that_comes_late_is_configured_when_it_is_there(vm: VM) -> None:
    inputs = {"network:ip": "10.137.0.12", "network:gateway": "10.137.0.5"}
    vm.start_agent()
    until(lambda: vm.said(keys.AGENT) == ANNOUNCEMENT)
    vm.push(qubes_ip="10.137.0.12", qubes_gateway="10.137.0.5")
    refused = vm.reply("network", inputs)
    assert not refused.accepted
    assert "no interface eth0" in refused.note
    assert vm.agent is not None
    inside = ["nsenter", "-t", str(vm.agent.pid), "-U", "-n", "--preserve-credentials", "ip"]
    subprocess.run([*inside, "link", "add", "eth0", "type", "veth", "peer", "name", "backend"], check=True)
    until(lambda: vm.reply("network", inputs).accepted)
    shown = subprocess.run([*inside, "-j", "route", "show"], check=True, capture_output=True, text=True).stdout
    assert '"dst":"default","gateway":"10.137.0.5"' in shown
    vm.push(qubes_service__disable_default_route="1")
    vm.dom0.wait_for(f"{HOME}/{keys.acknowledgement('services')}", lambda v: v is not None)
    until(lambda: b"default" not in subprocess.run([*inside, "route", "show"], capture_output=True).stdout)


def test_a_step_with_a_fault_of_its_own_is_refused_and_stops_nothing_else(vm: VM) -> None:
    class Broken(Machine):
        def link_target(self, path: str) -> str | None:
            raise RuntimeError("this was not thought of")

    vm.push(qubes_timezone="UTC", qubes_debug_mode="1")
    stop = threading.Event()
    lines: list[str] = []
    thread = threading.Thread(
        target=agent_module.serve,
        args=(lambda: XenStore.open(vm.daemon.socket(GUEST)), Broken(str(vm.root)), stop),
        kwargs={"log": lines.append},
    )
    thread.start()
    try:
        refused = vm.reply("timezone", {"timezone": "UTC"})
        assert refused.note == "unexpected RuntimeError: this was not thought of"
        assert not refused.accepted
        assert vm.reply("debug", {"debug": "1"}).accepted
    finally:
        stop.set()
        thread.join(5)
    assert not thread.is_alive()
    assert any("this was not thought of" in line for line in lines)


def test_an_agent_at_rest_says_and_asks_nothing(vm: VM) -> None:
    vm.push(qubes_timezone="UTC")
    vm.start_agent()
    vm.reply("timezone", {"timezone": "UTC"})
    until(lambda: vm.said(keys.AGENT) == ANNOUNCEMENT)
    time.sleep(0.5)
    assert vm.agent is not None
    status = Path(f"/proc/{vm.agent.pid}/status")

    def awakenings() -> int:
        return int(status.read_text().split("\nvoluntary_ctxt_switches:")[1].split()[0])

    with vm.dom0.watch([f"{HOME}/{keys.ACKNOWLEDGEMENTS}"]) as watch:
        watch.next(Deadline.after(5))
        before = awakenings()
        with pytest.raises(DeadlineExceeded):
            watch.next(Deadline.after(1.5))
    # It looks whether it shall stop, twice a second.
    assert awakenings() - before <= 10


def test_a_refused_watch_is_logged_as_what_it_is_and_not_as_a_missing_store(vm: VM) -> None:
    with XenStore.open(vm.daemon.socket(GUEST), window=16) as other, other.watch([f"own{n}" for n in range(120)]):
        vm.start_agent()
        until(lambda: b"too many watches" in vm.log.read_bytes())
    said = vm.log.read_text()
    assert re.search(
        r"^vminterface agent: [\w/-]+: too many watches: .* \(E2BIG\); next attempt in 0.\d+ s$", said, re.M
    )
    assert "no store" not in said
    until(lambda: vm.said(keys.AGENT) is not None)  # once there is room, it works
