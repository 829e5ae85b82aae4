"""Which acknowledgements a push asks for, given what the store holds."""

from __future__ import annotations

import pytest

from tests.support.memorystore import MemoryStore
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory import observed
from vminterface.dom0.push.acknowledgements import to_be_given_anew
from vminterface.dom0.push.outcome import Outcome, Work
from vminterface.values.change import Change

NAME, AGENT = {"/name": b"work"}, {"/vminterface/agent": b"1 0.1.0 services timezone"}
CUPS, ZONE = {"/qubes-service/cups": b"1"}, {"/qubes-timezone": b"UTC"}
ACKNOWLEDGED = {"/vminterface/ack/services": b"ok 46b8b33eeecb08e3 on: cups"}
OTHERWISE = {"/vminterface/ack/services": b"ok 0000000000000000 on: crond"}
DEBUG = {"/qubes-debug-mode": b"1"}


@pytest.mark.parametrize(
    ("held", "changed", "asked"),
    [
        pytest.param({**NAME, **AGENT, **CUPS}, [], set(), id="nothing is lost"),
        pytest.param({**AGENT, **CUPS}, [], {"services"}, id="lost"),
        pytest.param({**AGENT, **CUPS, **ACKNOWLEDGED}, [], set(), id="lost, and there again"),
        pytest.param({**AGENT}, [], set(), id="lost with its keys"),
        pytest.param({**AGENT, **DEBUG}, [], set(), id="lost of a setting that the agent does not know"),
        pytest.param({**CUPS, **ZONE}, [], set(), id="nothing to write, and nobody known who replies"),
        pytest.param({**CUPS, **ZONE}, ["timezone"], {"services", "timezone"}, id="something else is written"),
        pytest.param({**NAME, **CUPS, **ZONE}, ["timezone"], set(), id="nobody has ever acknowledged"),
        pytest.param({**NAME, **AGENT, **CUPS, **OTHERWISE}, [], {"services"}, id="the agent has seen other keys"),
        pytest.param({**NAME, **AGENT, **OTHERWISE}, [], {"services"}, id="the agent has seen keys where none are"),
        pytest.param({**NAME, **CUPS, **OTHERWISE}, [], set(), id="an agent that is gone has seen other keys"),
    ],
)
def test_what_is_lost_or_contradicted_is_asked_for_again(
    held: dict[str, bytes], changed: list[str], asked: set[str]
) -> None:
    target = MemoryStore(held).target("work")
    settings = VMSettings.parse("work", {"services": {"cups": True}, "timezone": "UTC", "debug": True})
    state = observed.read([target])["work"]
    outcome = Outcome("work", {field: Change(None, None) for field in changed})
    assert to_be_given_anew(Work(settings, target, state, outcome)) == asked
