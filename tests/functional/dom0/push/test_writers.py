"""Two programs of dom0 write to one VM at once: it ends with what one of them wants, and both tell the truth."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lab.xenstored.fakexen import missing
from tests.support import seeds
from tests.support.dom0 import Dom0
from tests.support.hosts import Host, write
from tests.support.lab_store import wait_until as until
from tests.support.qubesdb import QubesHost
from tests.support.stopwatch import Stopwatch
from tests.support.stores import need
from tests.support.writers import Writer
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.locks import VMLocks
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import push
from vminterface.dom0.results import barekeys
from vminterface.dom0.results.states import keys as states
from vminterface.errors import DeadlineExceeded

ROUNDS = 25
LIBRARY = Path(barekeys.__file__).parents[3]

SERVICES = ("cups", "crond", "clocksync", "modem-manager")
#: Two pillars that differ in every field.
ONE = {"timezone": "Europe/Warsaw", "debug": False, "services": dict.fromkeys(SERVICES, True)}
OTHER = {"timezone": "Asia/Tokyo", "debug": True, "services": dict.fromkeys(SERVICES, False)}


@pytest.fixture(params=["xenstore", "qubesdb"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    if request.param == "xenstore":
        need(missing())
    with (Dom0 if request.param == "xenstore" else QubesHost)(tmp_path / "h") as made:
        yield made


@pytest.fixture
def writers(host: Host) -> Iterator[list[Writer]]:
    """Two programs of this host."""
    if isinstance(host, Dom0):
        environment = {"XENSTORED_PATH": host.path}
    else:
        environment = {"XENSTORED_PATH": "/nonexistent", "VMINTERFACE_QUBESDB_DIR": str(host.folder)}
    started = [Writer(environment), Writer(environment)]
    yield started
    for writer in started:
        writer.end()


def held(host: Host) -> dict[str, object]:
    """What the VM has by now, in the form of a pillar."""
    return {
        "timezone": host.read("work", "qubes-timezone"),
        "debug": host.read("work", "qubes-debug-mode") == "1",
        "services": {name: host.read("work", f"qubes-service/{name}") == "1" for name in SERVICES},
    }


def pushed(host: Host, *desired: VMSettings) -> list[Outcome]:
    with host.targets() as targets:
        return push(desired, targets)


def test_two_pushes_end_with_one_of_the_two_pillars(host: Dom0 | QubesHost, writers: list[Writer]) -> None:
    """The agent refuses the one pillar in some rounds and is silent in others, so that it is taken back then."""
    host.start_vm("work")
    agent = host.agent("work")
    # So that neither finds itself there already when a round begins.
    between = {"timezone": "UTC", "debug": "default", "services": dict.fromkeys(SERVICES, "default")}
    chance = seeds.chance("two pushes")
    taken_back = 0
    for _ in range(ROUNDS):
        assert pushed(host, VMSettings.parse("work", between))[0].ok
        how = chance.choice(["", "", "no such zone", None])

        def reply(setting: str, inputs: dict[str, str], how: str | None = how) -> str | None:
            return how if inputs.get("timezone") == ONE["timezone"] else ""

        agent.reply = reply
        if chance.random() < 0.5:
            writers.reverse()
        writers[0].begin("push", "work", {**ONE, "timeout": 0.4 if how is None else 20})
        time.sleep(chance.choice([0, 0.005, 0.02]))
        writers[1].begin("push", "work", {**OTHER, "timeout": 20})
        one, other = writers[0].result(), writers[1].result()
        assert other["ok"], other
        assert one["ok"] == (how == "") or "another program is writing to it" in one["comment"], one
        assert held(host) in ([ONE, OTHER] if one["ok"] else [OTHER])
        taken_back += not one["ok"]
    assert taken_back


def test_two_changes_of_bare_keys_end_with_one_of_the_two(host: Dom0 | QubesHost, writers: list[Writer]) -> None:
    host.start_vm("work")
    channel = "qubesdb" if isinstance(host, QubesHost) else "xenstore"
    for number in range(ROUNDS):
        desired = [{f"t/{key}": f"{who} {number}" for key in range(6)} for who in ("one", "other")]
        for writer, values in zip(writers, desired, strict=True):
            writer.begin("update", "work", {**values, "channel": channel})
        assert all(writer.result()["ok"] for writer in writers)
        assert {path: host.read("work", path) for path in desired[0]} in desired


def test_a_push_that_waited_compares_with_what_the_other_has_left(host: Dom0 | QubesHost) -> None:
    host.start_vm("work")
    host.agent("work")
    first = VMSettings.parse("work", {"timezone": "Europe/Paris"})
    assert pushed(host, first)[0].ok
    with VMLocks() as locks, host.targets() as targets:
        assert locks.take("work")

        def other() -> None:
            write(host, "work", "qubes-timezone", b"Asia/Tokyo")
            locks.release("work")

        later = threading.Timer(0.3, other)
        later.start()
        (outcome,) = push([first], targets)
        later.join()
    assert {name: (change.old, change.new) for name, change in outcome.fields.items()} == {
        "timezone": ("Asia/Tokyo", "Europe/Paris")
    }


def test_a_program_that_hangs_costs_its_vm_its_own_time_and_nobody_elses(
    host: Dom0 | QubesHost, writers: list[Writer]
) -> None:
    for vm in ("work", "personal", "vault"):
        host.start_vm(vm)
        host.agent(vm)
    writers[0].begin("lock", "work", {})
    assert writers[0].result()["ok"]
    started = Stopwatch()
    desired = [VMSettings.parse(vm, {**ONE, "timeout": 1}) for vm in ("personal", "work", "vault")]
    personal, work, vault = pushed(host, *desired)
    started.check(5, least=0.4)
    assert personal.ok
    assert vault.ok
    assert isinstance(work.error, DeadlineExceeded)
    pid = writers[0].process.pid
    assert work.comment().startswith(
        f"work: another program is writing to it and did not end within 0.5 s: process {pid} (writers.py), since 20"
    )
    assert host.read("work", "qubes-timezone") is None
    writers[0].process.kill()
    writers[0].process.wait()
    assert pushed(host, desired[1])[0].ok


@pytest.mark.parametrize(
    ("zone", "refusal"),
    [
        pytest.param("Asia/Tokyo", "", id="that has acknowledged its settings"),
        pytest.param("Asia/Tokyo", "no such zone", id="that has refused them"),
        pytest.param("UTC", "", id="that needs nothing"),
    ],
)
def test_a_vm_is_free_while_its_push_still_waits_for_another(host: Dom0 | QubesHost, zone: str, refusal: str) -> None:
    for vm in ("hung", "work"):
        host.start_vm(vm)
    hung, work = host.agent("hung"), host.agent("work")
    first = [VMSettings.parse(vm, {"timezone": "UTC", "timeout": 60}) for vm in ("hung", "work")]
    assert all(outcome.ok for outcome in pushed(host, *first))
    assert until(lambda: hung.announced.is_set() and work.announced.is_set(), 60)
    hung.reply = lambda setting, inputs: None
    work.reply = lambda setting, inputs: refusal if inputs.get("timezone") == "Asia/Tokyo" else ""
    desired = [
        VMSettings.parse(vm, {"timezone": to, "timeout": 60}) for vm, to in (("hung", "Asia/Tokyo"), ("work", zone))
    ]
    outcomes: list[Outcome] = []

    def both() -> None:
        with host.targets() as targets:
            outcomes.extend(push(desired, targets, stop=threading.Event()))

    thread = threading.Thread(target=both)
    thread.start()
    assert until(lambda: host.read("hung", "qubes-timezone") == "Asia/Tokyo", 60)
    (other,) = pushed(host, VMSettings.parse("work", {"timezone": "Europe/Berlin", "timeout": 60}))
    assert other.comment() == "work: timezone set"
    assert not outcomes
    hung.reply = lambda setting, inputs: ""
    thread.join()
    assert [outcome.ok for outcome in outcomes] == [True, not refusal]
    assert host.read("work", "qubes-timezone") == "Europe/Berlin"


def test_a_push_that_waited_for_another_has_what_is_left_of_its_time_for_the_agent(host: Dom0 | QubesHost) -> None:
    host.start_vm("work")
    host.agent("work", lambda setting, inputs: None)
    assert until(lambda: host.read("work", "vminterface/agent") is not None or isinstance(host, Dom0), 60)
    pushed(host, VMSettings.parse("work", {"timezone": "UTC", "timeout": 0.5}))
    assert until(lambda: host.read("work", "vminterface/agent") is not None, 60)
    with VMLocks() as locks:
        assert locks.take("work")
        later = threading.Timer(1.0, locks.release, ["work"])
        later.start()
        started = Stopwatch()
        (outcome,) = pushed(host, VMSettings.parse("work", {**ONE, "timeout": 3}))
        later.join()
    started.check(3.7, least=2.5)
    assert isinstance(outcome.error, DeadlineExceeded)
    left = re.search(r"the agent did not acknowledge .* within ([0-9.]+) s", outcome.comment())
    assert left is not None, outcome.comment()
    assert 1.5 <= float(left[1]) <= 2


def test_vms_that_come_free_one_after_the_other_are_all_pushed_to(host: Dom0 | QubesHost) -> None:
    vms = [f"vm{n}" for n in range(12)]
    for vm in vms:
        host.start_vm(vm)
    with VMLocks() as locks:
        for vm in vms:
            assert locks.take(vm)

        def other() -> None:
            for vm in vms:
                time.sleep(0.02)
                locks.release(vm)

        thread = threading.Thread(target=other)
        thread.start()
        outcomes = pushed(host, *(VMSettings.parse(vm, {**ONE, "timeout": 20, "confirm": False}) for vm in vms))
        thread.join()
    assert [(outcome.vm, outcome.ok) for outcome in outcomes] == [(vm, True) for vm in vms]
    assert {host.read(vm, "qubes-timezone") for vm in vms} == {"Europe/Warsaw"}


@pytest.mark.parametrize("path", ["t", "/local/domain/1/t"])
def test_bare_keys_wait_for_a_push_and_say_who_it_is(
    host: Dom0 | QubesHost, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.start_vm("work")
    xenstore = isinstance(host, Dom0)
    if isinstance(host, Dom0):
        monkeypatch.setenv("XENSTORED_PATH", host.path)
    else:
        monkeypatch.setenv("VMINTERFACE_QUBESDB_DIR", str(host.folder))
    monkeypatch.setattr(barekeys, "STORE_TIMEOUT", 0.3)
    vm = None if xenstore and path.startswith("/") else "work"
    with VMLocks() as locks, barekeys.BareKeys("xenstore" if xenstore else "qubesdb", vm) as keys:
        assert locks.take("work")
        for change in (
            lambda: keys.write(path, "x"), lambda: keys.update({path: "x"}), lambda: keys.remove(path),
        ):  # fmt: skip
            with pytest.raises(
                DeadlineExceeded, match=r"^work: another program is writing to it and did not end within"
            ):
                change()
        told = partial(states.present, keys.channel, path, "x", vm, require_running=True)
        assert told(test=True)["result"] is None
        failed = told(test=False)
        assert failed["result"] is False
        assert failed["comment"].startswith("work: another program is writing to it and did not end within")
        assert not keys.exists(path)
        locks.release("work")
        assert told(test=False)["result"] is True
        keys.write(path, "x")
        assert keys.read(path) == "x"


MANY = 1500
BATCH = f"""
import sys
from vminterface.dom0.results.barekeys import BareKeys
with BareKeys(sys.argv[1], "work") as keys:
    print("open", flush=True)
    keys.update({{f"t/{{number}}": "x" for number in range({MANY})}})
"""


def batch(host: Host) -> subprocess.Popen[str]:
    """A program that writes many keys of ``work`` at once."""
    stores = (
        {"XENSTORED_PATH": host.path}
        if isinstance(host, Dom0)
        else {"XENSTORED_PATH": "/nonexistent", "VMINTERFACE_QUBESDB_DIR": str(host.folder)}
    )
    process = subprocess.Popen(
        [sys.executable, "-c", BATCH, "xenstore" if isinstance(host, Dom0) else "qubesdb"],
        env={**os.environ, **stores, "PYTHONPATH": str(LIBRARY)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def test_ctrl_c_in_the_middle_of_many_bare_keys_leaves_no_part_of_them(tmp_path: Path) -> None:
    with QubesHost(tmp_path / "h") as host:
        host.start_vm("work")
        process = batch(host)
        assert until(lambda: host.read("work", "t/0") is not None, 60)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGINT
        assert stderr.splitlines()[-1] == "KeyboardInterrupt: work: /t/0 and 1499 more: done before the interruption"
        with host.store("work") as store:
            assert len(store.list("/t")) == MANY


def test_ctrl_c_ends_the_wait_of_bare_keys_for_another_program(host: Dom0 | QubesHost) -> None:
    host.start_vm("work")
    with VMLocks() as locks:
        assert locks.take("work")
        process = batch(host)
        time.sleep(0.3)  # so that it waits; if it does not yet, it ends all the same
        process.send_signal(signal.SIGINT)
        started = Stopwatch()
        _, stderr = process.communicate(timeout=60)
        started.check(5)
    assert process.returncode == -signal.SIGINT
    assert stderr.splitlines()[-1] in (
        "KeyboardInterrupt",
        "KeyboardInterrupt: work: interrupted before anything was written",
    )
    assert host.read("work", "t/0") is None
