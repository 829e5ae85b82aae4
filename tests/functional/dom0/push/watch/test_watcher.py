"""A VM that is started again has its settings again, without a run of Salt: on the real xenstored and on QubesDBs."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from signal import Signals
from typing import Any

import pytest

from lab.xenstored import fakexen
from tests.support import warm
from tests.support.dom0 import Dom0
from tests.support.qubesdb import QubesHost
from tests.support.warm import WarmPython
from vminterface.dom0.desired.settings import VMSettings, parse_pillar
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.push import push
from vminterface.dom0.push.watch import watcher as watch
from vminterface.dom0.push.watch.watcher import PillarFile, Watcher
from vminterface.errors import InvalidValues

pytestmark = pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing())

LIBRARY = str(Path(__file__).parents[5] / "_utils")
PILLAR = {"qubes": {"vms": {"work": {"timezone": "Europe/Warsaw"}, "personal": {"timezone": "Asia/Tokyo"}}}}


@pytest.fixture
def pillar(tmp_path: Path) -> Path:
    file = tmp_path / "pillar.json"
    file.write_text(json.dumps(PILLAR))
    return file


def parsed(file: Path) -> list[VMSettings]:
    return parse_pillar(json.loads(file.read_text()))


class Log(list[str]):
    def has(self, *words: str) -> bool:
        return any(all(word in line for word in words) for line in list(self))


@contextmanager
def watching(open_targets: Callable[[], Targets], file: Path) -> Iterator[Log]:
    """A watcher at work; what it says is what the block gets. It ends within a second when it is told to."""
    log, stop = Log(), threading.Event()
    watcher = Watcher(PillarFile(str(file), lambda: parsed(file)), open_targets, log.append)
    thread = threading.Thread(target=watcher.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield log
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive(), log


@contextmanager
def command(env: dict[str, str], file: Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    process = WarmPython(
        ["vminterface", "watch", "--pillar", str(file)],
        env={**os.environ, "PYTHONPATH": LIBRARY, **env},
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def soon(condition: Callable[[], object], seconds: float = 30.0) -> float:
    """Wait until *condition* holds; return how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "not within the time"
        time.sleep(0.02)
    return time.monotonic() - began


def has(host: Dom0 | QubesHost, vm: str, zone: str, key: str = "qubes-timezone") -> Callable[[], bool]:
    return lambda: host.read(vm, key) == zone


def test_a_vm_that_is_destroyed_and_created_again_has_its_keys_again(dom0: Dom0, pillar: Path) -> None:
    dom0.start_vm("work")
    with watching(dom0.targets, pillar):
        soon(has(dom0, "work", "Europe/Warsaw"))
        first = dom0.domids["work"]
        dom0.stop_vm("work")
        assert dom0.start_vm("work") != first
        assert dom0.read("work", "qubes-timezone") is None
        assert soon(has(dom0, "work", "Europe/Warsaw")) < 5


def test_a_vm_that_is_restarted_while_nobody_looks_has_its_keys_again(
    dom0: Dom0, pillar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "CHECK_SECONDS", 2.0)
    dom0.start_vm("work")
    with watching(dom0.targets, pillar):
        soon(has(dom0, "work", "Europe/Warsaw"))
        for _ in range(5):
            dom0.stop_vm("work")
            dom0.start_vm("work")
        soon(has(dom0, "work", "Europe/Warsaw"))


def test_vms_that_the_pillar_does_not_name_are_left_alone(dom0: Dom0, pillar: Path) -> None:
    with watching(dom0.targets, pillar):
        dom0.start_vm("other")
        dom0.start_vm("work")
        soon(has(dom0, "work", "Europe/Warsaw"))
        assert dom0.read("other", "qubes-timezone") is None


def test_what_was_set_by_hand_stays_until_the_next_start(dom0: Dom0, pillar: Path) -> None:
    dom0.start_vm("work")
    with watching(dom0.targets, pillar):
        soon(has(dom0, "work", "Europe/Warsaw"))
        with dom0.store() as store:
            store.write(f"/local/domain/{dom0.domids['work']}/qubes-timezone", b"UTC")
        time.sleep(2.5)
        assert dom0.read("work", "qubes-timezone") == "UTC"


def test_it_survives_a_xenstored_that_is_started_afresh(dom0: Dom0, pillar: Path) -> None:
    dom0.start_vm("work")
    with watching(dom0.targets, pillar) as log:
        soon(has(dom0, "work", "Europe/Warsaw"))
        dom0.daemon.stop()
        soon(lambda: log.has("waiting for it"))
        dom0.daemon.start()
        dom0.start_vm("work")
        soon(has(dom0, "work", "Europe/Warsaw"))
        soon(lambda: log.has("can be reached again"))
    assert len(log) < 12


def test_a_changed_pillar_is_pushed_and_a_broken_one_refused_with_its_faults(dom0: Dom0, pillar: Path) -> None:
    dom0.start_vm("work")
    with watching(dom0.targets, pillar) as log:
        soon(has(dom0, "work", "Europe/Warsaw"))
        pillar.write_text(json.dumps({"qubes": {"vms": {"work": {"timezone": "UTC"}}}}))
        soon(has(dom0, "work", "UTC"))
        pillar.write_text(json.dumps({"qubes": {"vms": {"work": {"timezone": "Mars/Olympus", "debg": True}}}}))
        soon(lambda: log.has("refused; the former settings stay in force"))
        assert log.has("qubes:vms:work:timezone:", "Mars/Olympus")
        assert log.has("qubes:vms:work:debg:", "debug")
        dom0.stop_vm("work")
        dom0.start_vm("work")
        soon(has(dom0, "work", "UTC"))
        time.sleep(1.5)
        assert sum("refused" in line for line in log) == 1


def test_a_vm_that_refuses_is_tried_a_few_times_and_holds_up_no_other(
    dom0: Dom0, pillar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "FIRST_PAUSE", 0.05)
    dom0.start_vm("work")
    dom0.agent("work", lambda setting, inputs: "no such zone here" if setting == "timezone" and inputs else "")
    with watching(dom0.targets, pillar) as log:
        dom0.start_vm("personal")
        soon(has(dom0, "personal", "Asia/Tokyo"))
        soon(lambda: log.has("work refused timezone", "no further attempt"), 20)
        told = sum("work refused" in line for line in log)
        assert told == watch.ATTEMPTS
        time.sleep(1.5)
        assert sum("work refused" in line for line in log) == told


def test_what_a_vms_owner_does_not_accept_is_told_once_and_not_tried_again(dom0: Dom0, pillar: Path) -> None:
    dom0.start_vm("work")
    dom0.start_vm("personal")
    dom0.agent("work", unaccepted={"timezone": "refuse"})
    dom0.agent("personal")
    with watching(dom0.targets, pillar) as log:
        soon(has(dom0, "personal", "Asia/Tokyo"))
        soon(lambda: log.has("work does not accept timezone: decided by its owner"))
    assert sum("work" in line for line in log) == 1
    assert not log.has("next attempt")


def test_what_nobody_expected_is_told_and_tried_again(
    dom0: Dom0, pillar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = push
    failed: list[Any] = []

    def push_after_a_fault(settings: Any, targets: Any, **options: Any) -> Any:
        if not failed:
            failed.append(settings)
            raise RuntimeError("boom")
        return real(settings, targets, **options)

    monkeypatch.setattr(watch, "push", push_after_a_fault)
    dom0.start_vm("work")
    with watching(dom0.targets, pillar) as log:
        soon(has(dom0, "work", "Europe/Warsaw"))
        assert log.has("work: unexpected RuntimeError: boom; next attempt in 1 s")


def test_a_vm_whose_qubesdb_is_another_one_has_its_keys_again(tmp_path: Path, pillar: Path) -> None:
    with QubesHost(tmp_path / "qdb") as host:
        host.start_vm("work", "personal")
        host.stop_vm("personal")
        host.start_vm("work", "personal")
        with watching(host.targets, pillar):
            soon(has(host, "work", "Europe/Warsaw"))
            host.stop_vm("work")
            host.start_vm("work")
            soon(has(host, "work", "Europe/Warsaw"))


def test_a_provider_that_is_started_again_has_the_firewalls_of_its_clients_again(tmp_path: Path) -> None:
    firewall = {"netvm": "sys-net", "policy": "drop", "rules": ["action=accept specialtarget=dns"]}
    clients: dict[str, dict[str, Any]] = {
        "work": {"firewall": {**firewall, "ip": "10.137.0.5"}, "timeout": 1},
        "off": {"firewall": {**firewall, "ip": "10.137.0.6"}, "timeout": 1, "require_running": True},
    }
    file = tmp_path / "pillar.json"
    file.write_text(json.dumps({"qubes": {"vms": clients}}))

    def filled() -> bool:
        with host.store("sys-net") as store:
            found = store.tree("/")
        return all(f"/qubes-firewall/{one['firewall']['ip']}" in found for one in clients.values())

    with QubesHost(tmp_path / "qdb") as host:
        host.start_vm("work")
        host.start_vm("sys-net")
        with watching(host.targets, file) as log:
            soon(lambda: log.has("work: firewall set") and log.has("off is not running: firewall set"))
            host.stop_vm("sys-net")
            host.start_vm("sys-net")
            soon(filled)
            assert not log.has("next attempt"), log


def test_a_vm_that_hangs_does_not_hold_up_one_that_starts_meanwhile(tmp_path: Path, pillar: Path) -> None:
    with QubesHost(tmp_path / "qdb") as host:
        host.start_vm("personal")
        with host.daemons["personal"].stopped(), watching(host.targets, pillar) as log:
            # Its push waits by now, for the 5 seconds that the VM has.
            time.sleep(1.5)
            host.start_vm("work")
            assert soon(has(host, "work", "Europe/Warsaw")) < 3
            assert not log.has("personal", "no reply")
            soon(lambda: log.has("no reply", "next attempt"))


def test_a_pillar_that_is_wrong_from_the_start_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "pillar.json"
    file.write_text('{"qubes": {"vms": {"work": {"timezone": "Mars/Olympus"}}}}')
    with pytest.raises(InvalidValues):
        PillarFile(str(file), lambda: parsed(file))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_works_and_ends_cleanly(dom0: Dom0, pillar: Path, number: Signals) -> None:
    dom0.start_vm("work")
    with command({"XENSTORED_PATH": dom0.path}, pillar) as process:
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(2)]
        assert dom0.read("work", "qubes-timezone") == "Europe/Warsaw"
        process.send_signal(number)
        _, more = process.communicate(timeout=10)
    assert process.returncode == 0
    assert lines[0] == f"vminterface watch: {pillar}: settings of 2 VMs\n"
    assert lines[1].startswith("vminterface watch: work: timezone set")
    assert more == ""


def test_the_command_says_what_is_wrong_with_its_pillar(tmp_path: Path) -> None:
    for words, said, status in ((["-"], "expected a file", 2), ([str(tmp_path / "none")], "cannot be read", 1)):
        env = {**os.environ, "PYTHONPATH": LIBRARY}
        done = warm.run(["vminterface", "watch", "--pillar", *words], env=env, text=True, timeout=20)
        assert done.returncode == status
        assert said in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("zone", "said"),
    [("2020-13-45", "qubes:vms:work:timezone: "), ("9" * 5000, "digits"), ("[" * 3000, "is nested too deeply")],
    ids=["date", "number", "nested"],
)
def test_the_command_lives_on_whatever_its_pillar_becomes(dom0: Dom0, tmp_path: Path, zone: str, said: str) -> None:
    file = tmp_path / "pillar.yaml"
    file.write_text("qubes: {vms: {work: {timezone: UTC}}}")
    dom0.start_vm("work")
    command = ["vminterface", "watch", "--pillar", str(file)]
    env = {**os.environ, "PYTHONPATH": LIBRARY, "XENSTORED_PATH": dom0.path}

    def is_logged(words: str) -> bool:
        return words in (tmp_path / "log").read_text()

    with (tmp_path / "log").open("w") as log:
        watcher = WarmPython(command, env=env, stderr=log)
    try:
        soon(has(dom0, "work", "UTC"))
        file.write_text(f"qubes: {{vms: {{work: {{timezone: {zone}}}}}}}")
        for words in (said, "refused; the former settings stay in force"):
            soon(partial(is_logged, words))
        file.write_text("qubes: {vms: {work: {timezone: Asia/Tokyo}}}")
        soon(has(dom0, "work", "Asia/Tokyo"))
    finally:
        watcher.terminate()
        assert watcher.wait(10) == 0


def ends_in_time(process: subprocess.Popen[str]) -> str:
    """End the watcher as systemd does; return what it has said. It has two seconds, and what a shared machine adds."""
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    _, said = process.communicate(timeout=20)
    assert time.monotonic() - began < 2 + 1, said
    assert process.returncode == 0
    return said


def test_sigterm_takes_back_what_no_vm_has_acknowledged(dom0: Dom0, tmp_path: Path) -> None:
    file = tmp_path / "pillar.json"
    file.write_text(json.dumps({"qubes": {"vms": {"work": {"timezone": "UTC", "timeout": 60}}}}))
    dom0.start_vm("work")
    with dom0.store() as store:
        home = f"/local/domain/{dom0.domids['work']}"
        store.write(f"{home}/qubes-timezone", b"Europe/Paris")
        store.write(f"{home}/vminterface/agent", b"1 0.1.0 timezone")  # an agent that is there and does nothing
    with command({"XENSTORED_PATH": dom0.path}, file) as process:
        soon(has(dom0, "work", "UTC"))
        said = ends_in_time(process)
    assert dom0.read("work", "qubes-timezone") == "Europe/Paris"
    assert said.splitlines()[-1] == (
        "vminterface watch: work: interrupted before the agent acknowledged timezone; former values restored; "
        "its settings are pushed at the watcher's next start"
    )


def test_sigterm_ends_it_in_time_while_a_store_does_not_reply(tmp_path: Path) -> None:
    file = tmp_path / "pillar.json"
    file.write_text(json.dumps({"qubes": {"vms": {"work": {"timezone": "UTC", "timeout": 60}}}}))
    with QubesHost(tmp_path / "qdb") as host:
        host.start_vm("work")
        with host.daemons["work"].stopped():
            environment = {"VMINTERFACE_QUBESDB_DIR": str(host.folder), "XENSTORED_PATH": str(tmp_path / "none")}
            with command(environment, file) as process:
                assert process.stderr is not None
                process.stderr.readline()
                time.sleep(2)  # its push, SETTLE after the first sight of the VM, waits by now
                said = ends_in_time(process)
    assert "work: its store has not replied yet, so it may have a part of its settings; its settings are" in said


def test_sigterm_ends_it_in_time_while_the_xenstore_does_not_reply(dom0: Dom0, pillar: Path) -> None:
    with command({"XENSTORED_PATH": dom0.path}, pillar) as process:
        assert process.stderr is not None
        process.stderr.readline()
        assert dom0.daemon.process is not None
        dom0.daemon.process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(1.5)  # it looks every second
            ends_in_time(process)
        finally:
            dom0.daemon.process.send_signal(signal.SIGCONT)


def test_where_no_thread_can_be_started_it_says_so_in_one_sentence(dom0: Dom0, pillar: Path) -> None:
    with command({"XENSTORED_PATH": dom0.path}, pillar, preexec_fn=no_room_for_threads) as process:
        _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said.splitlines()[-1].startswith("vminterface: this process gets no more memory or threads (expected more: ")
    assert "Traceback" not in said


def no_room_for_threads() -> None:
    """Let a thread's stack be larger than what the process may have."""
    resource.setrlimit(resource.RLIMIT_STACK, (8 << 30, 8 << 30))
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


def test_a_push_waits_for_memory_and_is_done_when_there_is_some(
    dom0: Dom0, pillar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, missing = threading.Thread.start, threading.Event()

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("ThreadPoolExecutor") and not missing.is_set():
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    dom0.start_vm("work")
    with watching(dom0.targets, pillar) as log:
        soon(lambda: log.has("no more memory or threads", "waiting for it"))
        missing.set()
        soon(has(dom0, "work", "Europe/Warsaw"))
    assert sum("no more memory" in line for line in log) == 1
