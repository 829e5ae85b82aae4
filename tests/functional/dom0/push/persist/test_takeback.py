"""What a push has let qubesd keep is taken back as a rollout does it: by what was found before, read from a file."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

from tests.functional.dom0.push.persist.test_firewall import CLOSED, OPEN, live, settings
from tests.functional.dom0.push.persist.test_kept import WANTED
from tests.support.qubeshost import R4
from tests.support.qubesr4 import QubesR4
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.takeback import Former, take_back
from vminterface.errors import VMInterfaceError


def formers(would: Sequence[Outcome]) -> list[Former]:
    """What was found before a push, as a journal keeps it."""
    kept = json.loads(json.dumps({one.vm: Former.of(one).as_data() for one in would}))
    return [Former.parse(vm, data) for vm, data in kept.items()]


def taken_back(targets: Any, found: list[Former], pushed: Sequence[VMSettings]) -> dict[str, VMInterfaceError | None]:
    by_vm = {one.vm: one for one in pushed}
    with targets() as some:
        return take_back(found, by_vm, some, stop=threading.Event())


def test_features_properties_and_keys_are_what_they_were(r4: QubesR4) -> None:
    desired = r4.settings("work", **WANTED, timezone="Europe/Warsaw", services={"cups": True}, keyboard="pl")
    qube = r4.qubesd.qubes["work"]
    before = dict(qube.features), dict(qube.properties)
    found = formers(r4.diff(desired))
    (outcome,) = r4.push(desired)
    assert outcome.ok, outcome.comment()
    assert (dict(qube.features), dict(qube.properties)) != before
    assert taken_back(r4.host.targets, found, [desired]) == {"work": None}
    assert (dict(qube.features), dict(qube.properties)) == before
    assert {one.vm: set(one.changes) for one in r4.diff(desired)} == {"work": set(outcome.changes)}


def test_a_firewall_is_what_it_was_in_qubesd_and_in_the_provider(qubes: R4) -> None:
    found = formers(qubes.diff(settings(qubes)))
    qubes.push(settings(qubes))
    assert live(qubes) == CLOSED
    assert taken_back(qubes.host.targets, found, [settings(qubes)]) == {"work": None}
    assert live(qubes) == OPEN


def test_a_firewall_that_no_pillar_can_say_is_reported_and_the_new_one_stays(qubes: R4) -> None:
    (former,) = formers(qubes.diff(settings(qubes)))
    qubes.push(settings(qubes))
    odd = Former("work", words={"firewall": "a text"})
    assert former.words
    error = taken_back(qubes.host.targets, [odd], [settings(qubes)])["work"]
    assert str(error) == "work: firewall: what it had before cannot be pushed, so the new one stays"
    assert live(qubes) == CLOSED
