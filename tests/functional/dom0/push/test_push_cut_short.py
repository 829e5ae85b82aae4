"""A push that is ended in the middle, by kill -9 or by a signal, leaves no VM with half of what it was to get."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from signal import Signals
from subprocess import Popen

import pytest

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.faultyqubesdb import FaultyDaemon
from tests.support.qubesdb import QubesHost
from tests.support.rpcstandin import until
from tests.support.stores import need
from tests.support.warm import WarmPython
from tests.support.writers import Writer
from vminterface.channel.xenstore.store import XenStore
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push import push as push_module
from vminterface.dom0.push.locks import VMLocks
from vminterface.dom0.push.push import push

Host = Dom0 | QubesHost
LIBRARY = Path(push_module.__file__).parents[3]

CLIENT = {"/qubes-ip": "10.137.0.12", "/qubes-gateway": "10.137.0.5", "/qubes-netmask": "255.255.255.255"}
PROVIDER = {"/qubes-netvm-network": "10.138.0.0", "/qubes-netvm-gateway": "10.138.0.1"}
#: What a VM has; what it is to get; the key that says that the others are there; all keys before and after.
NETWORKS = {
    "another gateway": (
        CLIENT,
        {"network": {"ip": "10.137.0.12", "gateway": "10.137.0.6"}},
        "/qubes-ip",
        {**CLIENT, "/qubes-gateway": "10.137.0.6"},
    ),
    "another address too": (
        CLIENT,
        {"network": {"ip": "10.137.0.13", "gateway": "10.137.0.6"}},
        "/qubes-ip",
        {**CLIENT, "/qubes-ip": "10.137.0.13", "/qubes-gateway": "10.137.0.6"},
    ),
    "what a provider provides": (
        PROVIDER,
        {"provides_network": {"network": "10.139.0.0", "gateway": "10.139.0.1"}},
        "/qubes-netvm-network",
        {"/qubes-netvm-network": "10.139.0.0", "/qubes-netvm-gateway": "10.139.0.1"},
    ),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_kill_9_never_leaves_a_network_whose_parts_do_not_fit(kind: str, tmp_path: Path) -> None:
    """The daemon kills dom0's program at the nth request, for each n until it comes to its end."""
    before, pillar, flag, after = NETWORKS[kind]
    place = tmp_path / "qubesdb.work.sock"
    writer = Writer({"VMINTERFACE_QUBESDB_DIR": str(tmp_path), "XENSTORED_PATH": str(tmp_path / "none")})
    cuts, ended, held = 0, False, before
    while not ended:
        daemon = FaultyDaemon(str(place), kill_peer, after=cuts)
        values = daemon.side.database.values
        values.update({key: text.encode() for key, text in before.items()})
        writer.begin("fork", "work", {**pillar, "confirm": False})
        ended = writer.result()["ok"]
        assert ended != daemon.played
        daemon.stop()
        place.unlink()
        held = {key: values[key].decode() for key in before if key in values}
        assert flag not in held or held in (before, after), f"killed at request {cuts}: {held}"
        cuts += 1
    writer.end()
    assert held == after
    assert cuts > 5


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_daemon_that_hangs_up_anywhere_gets_the_former_network_on_a_new_connection(kind: str, tmp_path: Path) -> None:
    before, pillar, _, after = NETWORKS[kind]
    place = tmp_path / "qubesdb.work.sock"
    desired = VMSettings.parse("work", {**pillar, "confirm": False})
    cuts, failed = 0, True
    while failed:
        daemon = FaultyDaemon(str(place), lambda stream, reply: None, after=cuts)
        values = daemon.side.database.values
        values.update({key: text.encode() for key, text in before.items()})
        with Targets(lambda: XenStore.open(str(tmp_path / "none")), qubesdb_folder=str(tmp_path)) as targets:
            (outcome,) = push([desired], targets)
        daemon.stop()
        place.unlink()
        failed = daemon.played
        assert outcome.ok != failed
        held = {key: values[key].decode() for key in before if key in values}
        assert held == (before if failed else after), f"hung up at request {cuts}: {outcome.comment()}"
        assert "another program" not in outcome.comment()
        cuts += 1
    assert cuts > 5


def kill_peer(stream: socket.socket, reply: bytes) -> None:
    """Kill the program at the other end, in place of an answer."""
    pid, _, _ = struct.unpack("3i", stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    os.kill(pid, signal.SIGKILL)


@pytest.fixture(params=["xenstore", "qubesdb"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    if request.param == "xenstore":
        need(missing())
    with (Dom0 if request.param == "xenstore" else QubesHost)(tmp_path / "h") as made:
        for vm in ("work", "personal"):
            made.start_vm(vm)
            agent = made.agent(vm)
            with made.targets() as targets:
                assert push([VMSettings.parse(vm, {"timezone": "UTC"})], targets)[0].ok
            if vm == "work":
                agent.reply = lambda setting, inputs: None
        yield made


def environment(host: Host) -> dict[str, str]:
    found = {**os.environ, "PYTHONPATH": str(LIBRARY)}
    if isinstance(host, Dom0):
        return {**found, "XENSTORED_PATH": host.path}
    return {**found, "XENSTORED_PATH": "/nonexistent", "VMINTERFACE_QUBESDB_DIR": str(host.folder)}


@pytest.fixture
def waiting(host: Host, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The command, which waits for the agent of ``work`` to acknowledge, while ``personal`` has done so."""
    pillar = tmp_path / "pillar.json"
    vm = '{"timezone": "Europe/Berlin", "timeout": 60}'
    pillar.write_text(f'{{"qubes": {{"vms": {{"work": {vm}, "personal": {vm}}}}}}}')
    former = acknowledgement(host)
    command = ["vminterface", "push", "--pillar", str(pillar)]
    process = WarmPython(command, env=environment(host), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert until(lambda: acknowledgement(host) not in ("pending", former), 60)
    assert until(lambda: host.read("work", "qubes-timezone") == "Europe/Berlin", 60)
    yield process
    with suppress(ProcessLookupError):
        process.kill()
    process.communicate()


def acknowledgement(host: Host) -> str | None:
    """What the agent of ``personal`` says of its time zone."""
    return host.read("personal", "vminterface/ack/timezone")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_takes_back_what_nobody_has_acknowledged_and_says_what_came_of_each_vm(
    host: Dom0 | QubesHost, waiting: Popen[str], number: Signals
) -> None:
    started = time.monotonic()
    waiting.send_signal(number)
    stdout, stderr = waiting.communicate(timeout=60)
    assert time.monotonic() - started < 30
    assert (waiting.returncode, stdout) == (128 + number, "")
    assert stderr.splitlines() == [
        "vminterface: work: interrupted before the agent acknowledged timezone; former values restored",
        "vminterface: personal: timezone set",
    ]
    assert host.read("work", "qubes-timezone") == "UTC"
    assert host.read("work", "vminterface/ack/timezone") == "pending"
    assert host.read("personal", "qubes-timezone") == "Europe/Berlin"


def test_a_signal_ends_the_wait_for_another_program(host: Dom0 | QubesHost, tmp_path: Path) -> None:
    with VMLocks() as locks:
        assert locks.take("work")
        process = WarmPython(
            ["vminterface", "set", "work", "timezone=Europe/Paris", "--timeout", "60"],
            env=environment(host), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert until(lambda: any(path.endswith("/vms.lock") for path in opened_by(process.pid)), 60)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "vminterface: work: interrupted before anything was written\n")
    assert host.read("work", "qubes-timezone") == "UTC"


def opened_by(pid: int) -> list[str]:
    """What a program has open."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


def test_a_signal_takes_back_a_firewall_that_its_provider_has_not_handled(tmp_path: Path) -> None:
    with QubesHost(tmp_path / "h") as host:
        for vm in ("work", "sys-net"):
            host.start_vm(vm)
        firewall = "{netvm: sys-net, ip: 10.137.0.12, policy: drop}"
        pillar = tmp_path / "pillar.yaml"
        pillar.write_text(f"qubes: {{vms: {{work: {{timezone: UTC, timeout: 60, firewall: {firewall}}}}}}}")
        process = WarmPython(
            ["vminterface", "push", "--pillar", str(pillar)],
            env=environment(host), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert until(lambda: host.read("sys-net", "qubes-firewall/10.137.0.12") is not None, 60)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == (
            "", "vminterface: work: interrupted before sys-net handled its firewall; former values restored\n"
        )  # fmt: skip
        assert host.read("sys-net", "qubes-firewall/10.137.0.12/policy") is None
        assert host.read("work", "qubes-timezone") is None


def test_a_second_signal_ends_it_at_once(host: Dom0 | QubesHost, waiting: Popen[str]) -> None:
    """The store does nothing, so that there is no end of restoring."""
    process = host.daemon.process if isinstance(host, Dom0) else host.daemons["work"].process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        waiting.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(1.0)
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(5.0) == -signal.SIGINT
    finally:
        process.send_signal(signal.SIGCONT)
