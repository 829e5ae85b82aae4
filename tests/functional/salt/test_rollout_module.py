"""``qubes_rollout`` through Salt's loader: a rollout over the VMs of a host, and the push that a beacon asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from saltfactories.utils.functional import Loaders

from tests.support.dom0 import Dom0

PILLAR = {"qubes": {"defaults": {"timezone": "Europe/Warsaw"}, "vms": {"work": {}, "personal": {}}}}


@pytest.fixture
def host(host: Dom0, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dom0:
    monkeypatch.setenv("VMINTERFACE_ROLLOUTS", str(tmp_path / "rollouts"))
    for vm in ("personal", "stranger"):
        host.start_vm(vm)
        host.agent(vm)
    return host


def zones(host: Dom0) -> dict[str, str | None]:
    return {vm: host.read(vm, "qubes-timezone") for vm in host.domids}


def test_a_rollout_stops_is_resumed_and_is_taken_back(host: Dom0, pillar: Callable[..., Any], loaders: Loaders) -> None:
    rollout = pillar(PILLAR, reload=True).qubes_rollout
    agent = host.guests[1]
    agent.reply = lambda setting, inputs: "not here" if "Europe/Warsaw" in inputs.values() else ""
    found = rollout.push("zones", canary=["work"], waves=["1"])
    assert (found["ended"], loaders.context["retcode"]) == ("stopped", 1)
    assert {vm: one["state"] for vm, one in found["units"].items()} == {"work": "done", "personal": "failed"}
    agent.reply = lambda setting, inputs: ""
    assert rollout.resume("zones")["ended"] == "complete"
    assert zones(host) == {"work": "Europe/Warsaw", "personal": "Europe/Warsaw", "stranger": None}
    with pytest.raises(CommandExecutionError, match="a rollout called zones was begun before"):
        rollout.push("zones")
    assert rollout.push("zones", again=True)["ended"] == "complete"
    assert rollout.restore("zones")["ended"] == "taken back"
    assert set(zones(host).values()) == {None}


def test_what_was_never_begun_is_an_error_unless_that_is_accepted(host: Dom0, pillar: Callable[..., Any]) -> None:
    rollout = pillar(PILLAR, reload=True).qubes_rollout
    with pytest.raises(CommandExecutionError, match="no rollout called other was begun here"):
        rollout.restore("other")
    assert rollout.restore("other", missing_ok=True)["ended"] == "never begun"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": 5}, r"name: 5 is not valid \(expected text"),
        ({"name": "../a"}, "is not a name for a rollout"),
        ({"name": "a", "canary": "work"}, r"canary: 'work' is not valid \(expected a list"),
        ({"name": "a", "waves": True}, r"waves: is of type bool \(expected sizes"),
        ({"name": "a", "failures": 0}, "failures: .*expected a number from 1"),
        ({"name": "a", "again": "yes"}, r"again: 'yes' is not valid \(expected True or False"),
    ],
)
def test_a_wrong_argument_is_one_sentence(
    host: Dom0, pillar: Callable[..., Any], arguments: dict[str, Any], message: str
) -> None:
    rollout = pillar(PILLAR, reload=True).qubes_rollout
    with pytest.raises(SaltInvocationError, match=message):
        rollout.push(**arguments)
    assert set(zones(host).values()) == {None}


def test_a_push_that_is_due_reaches_the_vms_that_are_named_and_in_the_pillar(
    host: Dom0, pillar: Callable[..., Any]
) -> None:
    rollout = pillar(PILLAR, reload=True).qubes_rollout
    found = rollout.push_due(["work", "stranger", "a\x1b[2J"])
    assert list(found) == ["work"]
    assert zones(host) == {"work": "Europe/Warsaw", "personal": None, "stranger": None}
    with pytest.raises(SaltInvocationError, match=r"vms: .*\(expected a list"):
        rollout.push_due("work")
