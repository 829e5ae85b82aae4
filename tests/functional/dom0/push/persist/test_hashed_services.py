"""A service whose name is too long for a key: qubesd's own key for it, on, off and default, kept and not kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.qubesd import Qubesd
from lab.qubesd.stores import StoreWriter
from tests.support.qubesd import qubes_r4
from tests.support.qubesdb import QubesHost
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory import observed
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import diff, push
from vminterface.dom0.results import inwords, returns
from vminterface.values.service import hash_of

APP = "org.example.An_application_with_a_long_name"
SERVICE = f"app-dispvm.{APP}"
FIELD = f"services:{SERVICE}"
KEY = f"/hash-app-dispvm/{hash_of(APP)}"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[QubesHost]:
    with QubesHost(tmp_path / "qdb") as host:
        host.start_vm("work")
        yield host


@pytest.fixture
def qubesd(host: QubesHost, tmp_path: Path) -> Iterator[Qubesd]:
    with qubes_r4(tmp_path, "work", live=StoreWriter(host.store)) as daemon:
        daemon.qubes["work"].state = "Running"
        yield daemon


def run(host: QubesHost, state: object, *, how: Callable[..., list[Outcome]] = push, **more: object) -> Outcome:
    with host.targets() as targets:
        (outcome,) = how([VMSettings.parse("work", {"services": {SERVICE: state}, "confirm": False, **more})], targets)
    assert outcome.ok, outcome.error
    return outcome


def key(host: QubesHost) -> str | None:
    with host.store("work") as store:
        (value,) = store.read_many([KEY])
    return None if value is None else value.decode()


def test_the_key_of_a_running_vm_is_written_and_removed(host: QubesHost) -> None:
    changes = {FIELD: {"old": "default", "new": "on"}}
    assert returns.changes_of(run(host, True, how=diff)) == changes
    assert returns.changes_of(run(host, True)) == changes
    assert key(host) == APP
    assert returns.changes_of(run(host, True)) == {}
    assert returns.changes_of(run(host, "default")) == {FIELD: {"old": "on", "new": "default"}}
    assert key(host) is None


def test_no_key_stands_for_off(host: QubesHost) -> None:
    assert returns.changes_of(run(host, False)) == {}
    run(host, True)
    run(host, False)
    assert key(host) is None
    assert returns.changes_of(run(host, False)) == {}


def test_qubesd_keeps_it_in_a_feature_of_its_own_name(host: QubesHost, qubesd: Qubesd) -> None:
    features = qubesd.qubes["work"].features
    for state, feature, held in ((True, "1", APP), (False, "", None), (True, "1", APP), ("default", None, None)):
        assert returns.changes_of(run(host, state))
        assert (features.get(f"service.{SERVICE}"), key(host)) == (feature, held)
        assert returns.changes_of(run(host, state)) == {}


def test_what_is_held_is_read_by_its_name_and_what_does_not_fit_its_hash_is_left_out(host: QubesHost) -> None:
    run(host, True)
    with host.store("work") as store:
        store.write(f"/hash-app-dispvm/{hash_of('another')}", b"not that one")
        store.write(f"/hash-app-dispvm/{hash_of('short')}", b"short")
    with host.targets() as targets:
        states, _ = observed.read_all([targets.one("work")])
    fields = inwords.held(states["work"])
    assert {name: text for name, text in fields.items() if "dispvm" in name} == {FIELD: "on"}


def test_a_key_for_off_of_a_short_name_is_noted(host: QubesHost) -> None:
    with host.targets() as targets:
        desired = VMSettings.parse("work", {"services": {"app-dispvm.firefox": False}, "confirm": False})
        (outcome,) = diff([desired], targets)
    assert "services:app-dispvm.firefox: a VM of Qubes R4 treats off as on" in outcome.comment(test=True)
