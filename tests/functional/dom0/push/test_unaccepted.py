"""What a VM's owner does not accept is left out of a push, and all else stays: with the real agent, on both stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.hosts import Host, write
from tests.support.qubesdb import QubesHost
from tests.support.realagent import RealAgent
from tests.support.rpcstandin import until
from tests.support.stores import need
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import diff, push
from vminterface.dom0.results import returns
from vminterface.errors import SettingRefused
from vminterface.values.announcement import Announcement
from vminterface.vm.handlers.runtime.owner import SETTINGS

ETC, RW = "/etc/vminterface/agent.conf", "/rw/config/vminterface/agent.conf"
REFUSED = f"work does not accept timezone: decided by its owner ({ETC}:1)"
BOTH = {"timezone": "UTC", "services": {"cups": True}}


@pytest.fixture
def agent(host: Host, tmp_path: Path) -> Iterator[RealAgent]:
    """The real agent, which has acknowledged a first push and whose owner has said nothing yet."""
    with RealAgent(host, "work", tmp_path / "vm") as agent:
        agent.zone("UTC")
        agent.zone("Europe/Berlin")
        # In the XenStore it can announce itself once a push has given it the node.
        if isinstance(host, Dom0):
            assert pushed(host, {"debug": False, "timeout": 0.5}).ok
        assert until(lambda: announced(host) == {}, 60)
        yield agent


def announced(host: Host) -> dict[str, str] | None:
    text = host.read("work", "vminterface/agent")
    return None if text is None else dict(Announcement.parse(text).unaccepted)


def owner_says(host: Host, agent: RealAgent, text: str | None, expected: dict[str, str], path: str = ETC) -> None:
    """Write the owner's file and wait until the agent, which runs on, has told dom0."""
    agent.accepts(text, path)
    assert until(lambda: announced(host) == expected, 20), (announced(host), expected)
    # The reason comes after the announcement.
    reasons = [f"vminterface/ack/{setting}" for setting in expected]
    assert until(lambda: all("agent.conf" in (host.read("work", name) or "") for name in reasons), 20)


def pushed(host: Host, raw: dict[str, Any], *, test: bool = False) -> Outcome:
    with host.targets() as targets:
        return (diff if test else push)([VMSettings.parse("work", {"timeout": 20, **raw})], targets)[0]


def has_cups(agent: RealAgent) -> bool:
    return (agent.root / "run/qubes-service/cups").exists()


def has_zone(agent: RealAgent) -> bool:
    return (agent.root / "etc/localtime").is_symlink()


def test_a_refused_setting_is_left_out_and_the_others_are_pushed(host: Dom0 | QubesHost, agent: RealAgent) -> None:
    owner_says(host, agent, "timezone = refuse\n", {"timezone": "refuse"})
    outcome = pushed(host, BOTH)
    assert outcome.error is None
    assert not outcome.as_asked
    assert outcome.comment() == f"{REFUSED}; work: services:cups set"
    assert set(outcome.changes) == {"services:cups"}
    assert has_cups(agent)
    assert not has_zone(agent)
    assert host.read("work", "qubes-timezone") is None
    assert host.read("work", "qubes-service/cups") == "1"


def test_a_test_says_the_same_and_writes_nothing(host: Dom0 | QubesHost, agent: RealAgent) -> None:
    owner_says(host, agent, "timezone = refuse\n", {"timezone": "refuse"})
    before = host.dump()
    outcome = pushed(host, BOTH, test=True)
    assert outcome.comment(test=True) == f"{REFUSED}; work: services:cups would be set"
    state = returns.state_of("work", outcome, test=True)
    assert state["result"] is False
    assert state["changes"] == {"services:cups": {"old": "default", "new": "on"}}
    assert host.dump() == before


def test_the_second_push_changes_nothing_and_still_says_so(host: Dom0 | QubesHost, agent: RealAgent) -> None:
    owner_says(host, agent, "timezone = refuse\n", {"timezone": "refuse"})
    pushed(host, BOTH)
    again = pushed(host, BOTH)
    assert again.comment() == f"{REFUSED}; work is otherwise as configured"
    state = returns.state_of("work", again, test=False)
    assert (state["result"], state["changes"]) == (False, {})


def test_an_ignored_setting_is_no_error_and_said(host: Dom0 | QubesHost, agent: RealAgent) -> None:
    owner_says(host, agent, "timezone = ignore\n", {"timezone": "ignore"})
    outcome = pushed(host, BOTH)
    assert outcome.as_asked
    assert outcome.comment() == f"work ignores timezone: decided by its owner ({ETC}:1); work: services:cups set"
    assert returns.data_of([outcome])["work"]["unaccepted"] == {"timezone": "ignore"}
    assert returns.drift_of([pushed(host, BOTH, test=True)]) == {
        "work": {"timezone": {"store": "default", "pillar": "UTC", "owner": "ignore"}}
    }
    assert not has_zone(agent)
    assert host.read("work", "qubes-timezone") is None


def test_an_optional_field_may_be_refused(host: Dom0 | QubesHost, agent: RealAgent) -> None:
    owner_says(host, agent, "timezone = refuse\n", {"timezone": "refuse"})
    outcome = pushed(host, {**BOTH, "optional": ["timezone"]})
    assert outcome.as_asked
    assert outcome.comment() == (
        f"work does not accept timezone (optional): decided by its owner ({ETC}:1); work: services:cups set"
    )


def test_what_was_applied_before_stays_as_it_is(host: Dom0 | QubesHost, agent: RealAgent) -> None:
    assert pushed(host, BOTH).ok
    owner_says(host, agent, "timezone = refuse\n", {"timezone": "refuse"})
    outcome = pushed(host, {"timezone": "Europe/Berlin"})
    assert outcome.comment() == f"{REFUSED}; work is otherwise as configured"
    assert agent.timezone == "UTC"
    assert host.read("work", "qubes-timezone") == "UTC"


def test_a_value_that_another_program_writes_is_not_applied_either(host: Dom0 | QubesHost, agent: RealAgent) -> None:
    owner_says(host, agent, "timezone = refuse\n", {"timezone": "refuse"})
    write(host, "work", "qubes-timezone", b"UTC")
    said = host.read("work", "vminterface/ack/timezone")
    assert until(lambda: host.read("work", "vminterface/ack/timezone") != said, 20)
    assert (host.read("work", "vminterface/ack/timezone") or "").startswith("unaccepted ")
    assert not has_zone(agent)
    assert pushed(host, {"timezone": "UTC"}).comment() == f"{REFUSED}; work is otherwise as configured"


def test_what_is_accepted_again_is_applied_without_a_restart(host: Dom0 | QubesHost, agent: RealAgent) -> None:
    owner_says(host, agent, "timezone = refuse\n", {"timezone": "refuse"})
    assert not pushed(host, BOTH).as_asked
    owner_says(host, agent, "timezone = accept\n", {})
    outcome = pushed(host, BOTH)
    assert outcome.as_asked, outcome.comment()
    assert outcome.comment() == "work: timezone set"
    assert agent.timezone == "UTC"
    owner_says(host, agent, "other-settings = ignore\nservices = accept", dict.fromkeys(ALL - {"services"}, "ignore"))
    owner_says(host, agent, None, {})


def test_the_vms_own_file_decides_where_it_says_anything(host: Dom0 | QubesHost, agent: RealAgent) -> None:
    owner_says(host, agent, "timezone = refuse\nkeyboard = refuse\n", {"timezone": "refuse", "keyboard": "refuse"})
    owner_says(host, agent, "timezone = accept\n", {"keyboard": "refuse"}, RW)
    owner_says(host, agent, "other-settings = accept\n", {}, RW)


@pytest.mark.parametrize("path", [ETC, RW])
def test_while_a_file_is_not_valid_everything_is_refused_and_dom0_gets_the_sentence(
    host: Dom0 | QubesHost, agent: RealAgent, path: str
) -> None:
    owner_says(host, agent, "debug = accept\n\ntimezon = refuse\n", dict.fromkeys(ALL, "refuse"), path)
    assert until(lambda: "timezon" in (host.read("work", "vminterface/ack/timezone") or ""), 20)
    outcome = pushed(host, BOTH)
    assert not outcome.as_asked
    assert outcome.comment() == (
        f"work does not accept services, timezone: {path}:3: 'timezon' is not a setting or a service "
        "(did you mean 'timezone'?); everything is refused until that is fixed; work is otherwise as configured"
    )
    owner_says(host, agent, "timezone = accept\n", {}, path)
    assert pushed(host, BOTH).as_asked


ALL = {*SETTINGS}


def test_the_first_push_to_a_vm_of_the_xenstore_takes_back_what_it_only_then_learns_of(tmp_path: Path) -> None:
    need(missing())
    with Dom0(tmp_path / "h") as host:
        host.start_vm("work")
        with RealAgent(host, "work", tmp_path / "vm") as agent:
            agent.zone("UTC")
            agent.accepts("timezone = refuse\n")
            outcome = pushed(host, BOTH)
            assert outcome.error is None, outcome.comment()
            assert outcome.comment() == f"{REFUSED}; work: services:cups set"
            assert has_cups(agent)
            assert not has_zone(agent)
        assert set(outcome.unaccepted["timezone"].changes) == {"timezone"}
        assert host.read("work", "qubes-timezone") is None
        assert host.read("work", "qubes-service/cups") == "1"


def test_a_push_that_learns_of_it_late_takes_that_setting_back_and_nothing_else(host: Dom0 | QubesHost) -> None:
    """The owner changes the file while dom0 waits: the agent no longer promises the network when it is asked for it."""
    network = {"ip": "10.137.0.12", "gateway": "10.137.0.5", "dns": ["10.139.1.1"]}
    changed = {"ip": "10.137.0.13", "gateway": "10.137.0.6"}
    names = ("qubes-ip", "qubes-netmask", "qubes-gateway", "qubes-primary-dns", "qubes-secondary-dns")

    def changing_his_mind(setting: str, inputs: dict[str, str]) -> str | None:
        if inputs.get("network:ip") != changed["ip"]:
            return ""
        with host.guest_store("work") as store:
            words = Announcement("0", frozenset(ALL - {"network"}), {"network": "refuse"})
            store.write("vminterface/agent", words.render().encode())
        return None

    host.agent("work", changing_his_mind)
    assert pushed(host, {"network": network}).ok
    before = {name: host.read("work", name) for name in names}
    outcome = pushed(host, {"network": {**changed, "dns": []}, "debug": True})
    assert outcome.error is None, outcome.comment()
    assert outcome.comment() == "work does not accept network: decided by its owner; work: debug set"
    assert set(outcome.unaccepted["network"].changes) == {"network:ip", "network:gateway", "network:primary_dns"}
    assert {name: host.read("work", name) for name in names} == before
    assert host.read("work", "qubes-debug-mode") == "1"


def test_an_agents_own_refusal_still_takes_all_back(host: Dom0 | QubesHost, agent: RealAgent) -> None:
    owner_says(host, agent, "debug = ignore\n", {"debug": "ignore"})
    outcome = pushed(host, {"timezone": "Asia/Tokyo", "services": {"cups": True}, "debug": True})
    assert isinstance(outcome.error, SettingRefused)
    assert host.read("work", "qubes-service/cups") is None
    assert host.read("work", "qubes-timezone") is None


def test_without_an_agent_nobody_refuses_anything(host: Dom0 | QubesHost, agent: RealAgent) -> None:
    owner_says(host, agent, "timezone = refuse\n", {"timezone": "refuse"})
    agent.process.terminate()
    assert until(lambda: announced(host) is None, 20)
    outcome = pushed(host, {"timezone": "UTC", "timeout": 0.5})
    assert outcome.as_asked, outcome.comment()
    assert "no agent is running in the VM" in outcome.comment()
    assert host.read("work", "qubes-timezone") == "UTC"
