"""An acknowledgement is one to this push, never an older one with the same values: with slow agents, on both stores."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dom0 import SETTINGS, Dom0
from tests.support.hosts import Host, write
from tests.support.qubesdb import QubesHost
from tests.support.realagent import RealAgent
from tests.support.rpcstandin import until
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import diff, push
from vminterface.errors import DeadlineExceeded, SettingRefused


@pytest.fixture
def agent(host: Host, tmp_path: Path) -> Iterator[RealAgent]:
    """The real agent at work, after a first push that it has acknowledged."""
    with RealAgent(host, "work", tmp_path / "vm") as agent:
        agent.zone("UTC")
        agent.zone("Europe/Berlin")
        if isinstance(host, QubesHost):
            assert until(lambda: host.read("work", "vminterface/agent") is not None, 60)
        assert pushed(host, "UTC").ok
        # On a busy machine it may have started too late for this push.
        assert until(lambda: host.read("work", "vminterface/agent") is not None, 60)
        assert pushed(host, "UTC").ok
        yield agent


def pushed(host: Host, zone: str, timeout: float = 20, **more: object) -> Outcome:
    with host.targets() as targets:
        return push([VMSettings.parse("work", {"timezone": zone, "timeout": timeout, **more})], targets)[0]


def test_what_the_agent_lets_be_is_not_only_reported_as_set(host: Host, agent: RealAgent) -> None:
    lists = agent.root / "etc/qubes/protected-files.d"
    lists.mkdir(parents=True)
    (lists / "own").write_text("/etc/localtime\n")
    left = "timezone: left unchanged: /etc/localtime is protected in this VM"
    assert pushed(host, "Europe/Berlin").comment() == f"work: timezone set; {left}"
    assert pushed(host, "Europe/Berlin").comment() == f"work is already as configured; {left}"
    assert (agent.root / "etc/localtime").readlink().name == "UTC"


def test_a_slow_agents_old_acknowledgement_is_not_believed(host: Dom0 | QubesHost) -> None:
    applied: list[str] = []
    awake = threading.Event()

    def slow(setting: str, inputs: dict[str, str]) -> str:
        if inputs.get("timezone") == "Europe/Berlin":
            awake.wait(20)
        applied.append(inputs.get("timezone", ""))
        return ""

    host.agent("work", slow)
    assert pushed(host, "UTC").ok
    assert isinstance(pushed(host, "Europe/Berlin", 0.5).error, DeadlineExceeded)
    outcome = pushed(host, "UTC", 0.5)
    assert isinstance(outcome.error, DeadlineExceeded), outcome.comment()
    awake.set()
    assert pushed(host, "UTC").comment() == "work is already as configured"
    assert applied[-1] == "UTC"


def test_a_slow_agents_old_refusal_is_not_repeated(host: Dom0 | QubesHost) -> None:
    host.agent("work", lambda setting, inputs: "")
    agent, asleep, awake = host.guests[0], threading.Event(), threading.Event()
    assert pushed(host, "UTC").ok

    def refusing(setting: str, inputs: dict[str, str]) -> str:
        if inputs.get("timezone") == "UTC":
            asleep.set()
            awake.wait(20)
        return "no such zone" if inputs.get("timezone") == "Europe/Berlin" and not awake.is_set() else ""

    agent.reply = refusing
    assert isinstance(pushed(host, "Europe/Berlin").error, SettingRefused)
    # It has the former zone again, and is busy with it.
    assert asleep.wait(20)
    threading.Timer(0.5, awake.set).start()
    outcome = pushed(host, "Europe/Berlin")
    assert outcome.ok, outcome.comment()


def test_the_real_agents_old_acknowledgement_is_not_believed(host: Dom0 | QubesHost, agent: RealAgent) -> None:
    agent.process.send_signal(signal.SIGSTOP)
    assert isinstance(pushed(host, "Europe/Berlin", 0.5).error, DeadlineExceeded)
    outcome = pushed(host, "UTC", 0.5)
    assert isinstance(outcome.error, DeadlineExceeded), outcome.comment()
    agent.process.send_signal(signal.SIGCONT)
    assert pushed(host, "UTC").ok
    assert agent.timezone == "UTC"
    assert pushed(host, "Europe/Berlin").ok
    assert agent.timezone == "Europe/Berlin"


def test_the_real_agent_tries_again_what_it_has_refused(host: Dom0 | QubesHost, agent: RealAgent) -> None:
    first = pushed(host, "Asia/Tokyo")
    assert isinstance(first.error, SettingRefused), first.comment()
    agent.zone("Asia/Tokyo")
    assert pushed(host, "Asia/Tokyo").ok
    assert agent.timezone == "Asia/Tokyo"


def test_a_refusal_of_what_is_there_already_is_not_repeated_once_its_cause_is_gone(
    host: Dom0 | QubesHost, agent: RealAgent
) -> None:
    write(host, "work", "qubes-timezone", b"Asia/Tokyo")
    assert until(lambda: (host.read("work", "vminterface/ack/timezone") or "").startswith("refused"), 60)
    refused = pushed(host, "Asia/Tokyo")
    assert isinstance(refused.error, SettingRefused)
    assert refused.restored is None
    agent.zone("Asia/Tokyo")
    assert pushed(host, "Asia/Tokyo").comment() == "work is already as configured"
    assert agent.timezone == "Asia/Tokyo"


def test_the_acknowledgement_of_what_was_taken_back_is_pending(host: Dom0 | QubesHost) -> None:
    agent = host.agent("work")
    assert pushed(host, "UTC").ok
    agent.reply = lambda setting, inputs: None
    assert isinstance(pushed(host, "Europe/Berlin", 0.5).error, DeadlineExceeded)
    assert host.read("work", "vminterface/ack/timezone") == "pending"
    agent.reply = lambda setting, inputs: ""
    assert pushed(host, "UTC").ok
    assert (host.read("work", "vminterface/ack/timezone") or "").startswith("ok ")


def test_a_vm_without_an_agent_gets_no_keys_of_acknowledgements(host: Dom0 | QubesHost) -> None:
    assert pushed(host, "UTC", 0.5).ok
    assert pushed(host, "Europe/Berlin", 0.5).ok
    assert host.read("work", "vminterface/ack/timezone") is None


def test_a_setting_that_the_agent_does_not_promise_is_said_to_be_applied_by_nobody(host: Dom0 | QubesHost) -> None:
    host.agent("work", settings=SETTINGS - {"timezone"})
    outcome = pushed(host, "UTC", debug=True)
    assert outcome.comment() == (
        "work: debug, timezone set; its agent (version 0) does not apply timezone: it is lost at the VM's next "
        "start unless pushed again (`vminterface watch` does)"
    )
    assert pushed(host, "UTC").comment() == "work is already as configured"
    assert pushed(host, "UTC", debug=False).comment() == "work: debug set"


def test_a_diff_asks_for_nothing(host: Dom0 | QubesHost, agent: RealAgent) -> None:
    write(host, "work", "qubes-timezone", b"Asia/Tokyo")
    assert until(lambda: (host.read("work", "vminterface/ack/timezone") or "").startswith("refused"), 60)
    said = host.read("work", "vminterface/ack/timezone")
    with host.targets() as targets:
        (outcome,) = diff([VMSettings.parse("work", {"timezone": "Asia/Tokyo"})], targets)
    assert isinstance(outcome.error, SettingRefused)
    assert host.read("work", "vminterface/ack/timezone") == said


def test_keys_that_dom0_has_lost_are_the_reason_why_no_acknowledgement_matches(tmp_path: Path) -> None:
    with QubesHost(tmp_path / "qubes") as host:
        host.start_vm("work")
        # As qubesd writes it at the VM's start.
        write(host, "work", "qubes-service/meminfo-writer", b"1")
        with RealAgent(host, "work", tmp_path / "vm"):
            assert until(lambda: host.read("work", "vminterface/agent") is not None, 60)
            cups = VMSettings.parse("work", {"services": {"cups": True}, "timeout": 20})
            with host.targets() as targets:
                assert push([cups], targets)[0].ok
            host.daemons["work"].restart_dom0()
            with host.targets() as targets:
                outcome = push([VMSettings.parse("work", {"services": {"cups": True}, "timeout": 2})], targets)[0]
            assert outcome.comment() == (
                "work: the VM still has keys of services that dom0 has lost, as the VM's QubesDB daemon in dom0 was "
                "started afresh (expected: the VM is started again); services:cups is removed, as dom0 has lost the "
                "former value"
            )


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_an_acknowledgement_that_dom0_has_lost_is_asked_for_again(tmp_path: Path, zone: str) -> None:
    """Another program has given dom0's store the keys again that it lost, so that the push does not change them."""
    with QubesHost(tmp_path / "qubes") as host:
        host.start_vm("work")
        with RealAgent(host, "work", tmp_path / "vm") as agent:
            agent.zone("UTC")
            agent.zone("Europe/Berlin")
            assert until(lambda: host.read("work", "vminterface/agent") is not None, 60)
            assert pushed(host, "UTC", services={"cups": True}).ok
            host.daemons["work"].restart_dom0()
            write(host, "work", "qubes-service/cups", b"1")
            write(host, "work", "qubes-timezone", b"UTC")
            comments = [pushed(host, to, services={"cups": True}).comment() for to in (zone, "UTC", "UTC")]
    assert comments == [
        "work is already as configured" if zone == "UTC" else "work: timezone set",
        "work is already as configured" if zone == "UTC" else "work: timezone set",
        "work is already as configured",
    ]
