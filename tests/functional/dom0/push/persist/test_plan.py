"""What the pillar says lasts over a VM's restart: qubesd keeps it, compared first, taken back if the push fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.qubesd import Qubesd, Refused
from lab.qubesd.stores import StoreWriter
from tests.support.qubesd import qubes_r4
from tests.support.qubesdb import QubesHost
from tests.support.stopwatch import Stopwatch
from vminterface.channel import adminapi
from vminterface.dom0.desired.settings import VMSettings, parse_pillar
from vminterface.dom0.inventory.qubesd import PATIENCE
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import diff, push
from vminterface.dom0.results import returns
from vminterface.errors import (
    DeadlineExceeded,
    InvalidValue,
    InvalidValues,
    ProgramMissing,
    SettingRefused,
    StoreError,
    VerificationFailed,
    VMNotFound,
)

WORK = {
    "timezone": "Europe/Warsaw",
    "services": {"cups": True, "crond": False},
    "keyboard": "pl+dvorak",
    "debug": True,
    "netvm": "none",
}
SET = ("admin.vm.feature.Set", "admin.vm.feature.Remove", "admin.vm.property.Set", "admin.vm.property.Reset")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[QubesHost]:
    with QubesHost(tmp_path / "qdb") as host:
        host.start_vm("sys-net")
        yield host


@pytest.fixture
def qubesd(host: QubesHost, tmp_path: Path) -> Iterator[Qubesd]:
    with qubes_r4(tmp_path, "work", "personal", live=StoreWriter(host.store)) as daemon:
        yield daemon


def settings(raw: dict[str, Any], vm: str = "work", **more: object) -> VMSettings:
    return VMSettings.parse(vm, {**raw, **more})


def pushed(host: QubesHost, *desired: VMSettings) -> list[Outcome]:
    with host.targets() as targets:
        return push(desired, targets)


def differing(host: QubesHost, *desired: VMSettings) -> list[Outcome]:
    with host.targets() as targets:
        return diff(desired, targets)


def changing(qubesd: Qubesd) -> list[tuple[str, str]]:
    """The calls that change something, taken off the list."""
    calls = [(method, argument) for method, argument, _ in qubesd.calls if method in SET]
    qubesd.calls.clear()
    return calls


def after_storing(qubesd: Qubesd, method: str, argument: str, fail: Callable[[], object]) -> None:
    """Let *fail* come after that call has done its work, as the real qubesd stores first and acts on it then."""
    qubesd.faults.afterwards.setdefault((f"admin.vm.{method}", argument), []).append(fail)


def refusing() -> None:
    raise Refused("QubesVMError", "QubesDB is dead")


def started(host: QubesHost, qubesd: Qubesd, vm: str) -> None:
    host.start_vm(vm)
    qubesd.start_vm(vm)


def test_a_vm_that_does_not_run_has_its_settings_kept_for_it(host: Any, qubesd: Any) -> None:
    (outcome,) = pushed(host, settings(WORK))
    assert outcome.ok
    work = qubesd.qubes["work"]
    assert work.features == {
        "service.cups": "1",
        "service.crond": "",
        "vm-config.vminterface-timezone": "Europe/Warsaw",
    }
    assert work.properties == {"keyboard_layout": "pl+dvorak+", "debug": "True", "netvm": ""}
    assert returns.changes_of(outcome) == {
        "persistent:services:cups": {"old": "default", "new": "on"},
        "persistent:services:crond": {"old": "default", "new": "off"},
        "persistent:timezone": {"old": "default", "new": "Europe/Warsaw"},
        "persistent:keyboard": {"old": "default", "new": "pl+dvorak"},
        "persistent:debug": {"old": "default", "new": "on"},
        "persistent:netvm": {"old": "default", "new": "none"},
    }
    assert outcome.comment() == (
        "work is not running: 6 fields set; "
        "qubesd applies the persistent settings at the next start; the rest needs another push"
    )


def test_one_call_is_made_for_each_difference_and_none_where_there_is_none(host: Any, qubesd: Any) -> None:
    qubesd.qubes["work"].features["service.cups"] = "1"
    pushed(host, settings(WORK))
    assert sorted(changing(qubesd)) == [
        ("admin.vm.feature.Set", "service.crond"),
        ("admin.vm.feature.Set", "vm-config.vminterface-timezone"),
        ("admin.vm.property.Set", "debug"),
        ("admin.vm.property.Set", "keyboard_layout"),
        ("admin.vm.property.Set", "netvm"),
    ]
    (again,) = pushed(host, settings(WORK))
    assert changing(qubesd) == []
    assert again.changes == {}


def test_a_running_vm_has_both_and_keeps_it_after_its_restart(host: Any, qubesd: Any) -> None:
    started(host, qubesd, "work")
    host.agent("work")
    desired = settings(WORK)
    (outcome,) = pushed(host, desired)
    assert outcome.ok, outcome.comment()
    assert {"persistent:timezone", "timezone", "persistent:services:cups", "services:cups"} <= set(outcome.changes)
    assert host.read("work", "qubes-timezone") == "Europe/Warsaw"
    host.stop_vm("work")
    started(host, qubesd, "work")
    assert host.read("work", "vm-config/vminterface-timezone") == "Europe/Warsaw"
    assert host.read("work", "qubes-service/cups") == "1"
    assert host.read("work", "qubes-service/crond") == "0"


@pytest.mark.parametrize("running", [True, False])
def test_a_diff_says_exactly_what_a_push_then_changes_and_changes_nothing(host: Any, qubesd: Any, running: Any) -> None:
    if running:
        started(host, qubesd, "work")
        host.agent("work")
    (foretold,) = differing(host, settings(WORK))
    assert changing(qubesd) == []
    if running:
        assert host.read("work", "qubes-timezone") == "Etc/UTC"
    (outcome,) = pushed(host, settings(WORK))
    assert outcome.changes == foretold.changes != {}
    assert differing(host, settings(WORK))[0].changes == {}


def test_default_lets_qubesd_forget(host: Any, qubesd: Any) -> None:
    pushed(host, settings(WORK))
    changing(qubesd)
    back = {"timezone": "default", "services": {"cups": "default"}, "keyboard": "default", "netvm": "default"}
    (outcome,) = pushed(host, settings({**back, "debug": "default"}))
    assert outcome.ok
    assert qubesd.qubes["work"].features == {"service.crond": ""}
    assert qubesd.qubes["work"].properties == {}
    assert len(changing(qubesd)) == 5
    assert pushed(host, settings(back))[0].changes == {}


def test_what_qubesd_alone_has_is_left_out_where_a_push_is_told_not_to_ask_it(host: Any, qubesd: Any) -> None:
    qubesd.qubes["work"].properties["netvm"] = "sys-net"
    one = settings({"netvm": "none", "timezone": "Europe/Warsaw"}).with_options(persist=False)
    (outcome,) = pushed(host, one)
    assert outcome.ok
    assert qubesd.qubes["work"].properties["netvm"] == "sys-net"
    assert changing(qubesd) == []


def test_an_address_and_a_netvm_last_too(host: Any, qubesd: Any) -> None:
    network = {"ip": "10.137.0.12", "gateway": "10.137.0.5"}
    pushed(host, settings({"network": network, "netvm": "sys-net"}))
    # sys-net is what the default says, so nothing had to be set.
    assert qubesd.qubes["work"].properties == {"ip": "10.137.0.12"}


def test_free_keys_and_a_long_list_of_resolvers_last_too(host: Any, qubesd: Any) -> None:
    dns = ["10.139.1.1", "10.139.1.2", "10.139.1.3"]
    network = {"ip": "10.137.0.12", "gateway": "10.137.0.5", "dns": dns}
    desired = settings({"vm_config": {"mode": "quiet"}, "network": network})
    assert pushed(host, desired)[0].ok
    assert qubesd.qubes["work"].features["vm-config.mode"] == "quiet"
    assert qubesd.qubes["work"].features["vm-config.vminterface-dns"] == " ".join(dns)
    assert pushed(host, desired)[0].changes == {}


def test_a_push_that_the_vm_refuses_takes_the_lasting_part_back(host: Any, qubesd: Any) -> None:
    started(host, qubesd, "work")
    qubesd.qubes["work"].features["service.cups"] = ""
    before = dict(qubesd.qubes["work"].features)
    host.agent("work", lambda setting, inputs: "no such zone here" if setting == "timezone" else "")
    (outcome,) = pushed(host, settings(WORK))
    assert isinstance(outcome.error, SettingRefused)
    assert outcome.changes == {}
    assert qubesd.qubes["work"].features == before
    assert qubesd.qubes["work"].properties == {}
    assert host.read("work", "vm-config/vminterface-timezone") is None


def test_what_qubesd_refuses_is_told_and_nothing_of_that_vm_is_done(host: Any, qubesd: Any) -> None:
    started(host, qubesd, "work")
    qubesd.refuse["admin.vm.property.Set", "debug"] = Refused("QubesVMError", "not now")
    failed, fine = pushed(host, settings(WORK), settings(WORK, "personal"))
    assert isinstance(failed.error, StoreError)
    assert "not now" in failed.comment()
    assert qubesd.qubes["work"].features == {}
    assert host.read("work", "qubes-timezone") == "Etc/UTC"
    # It refuses the other's too, each for itself.
    assert isinstance(fine.error, StoreError)


def test_a_change_that_fails_after_it_was_stored_is_taken_back_with_the_others(host: Any, qubesd: Any) -> None:
    started(host, qubesd, "work")
    qubesd.qubes["work"].features["service.crond"] = "1"
    after_storing(qubesd, "feature.Set", "service.cups", refusing)
    (outcome,) = pushed(host, settings(WORK))
    assert qubesd.qubes["work"].features == {"service.crond": "1"}
    assert qubesd.qubes["work"].properties == {}
    assert host.read("work", "qubes-service/cups") is None
    assert isinstance(outcome.error, StoreError)
    assert outcome.comment() == "work: services:cups (feature service.cups): QubesDB is dead; former values restored"
    assert outcome.changes == {}


def test_taking_back_counts_as_done_where_that_call_too_fails_after_it_was_stored(host: Any, qubesd: Any) -> None:
    after_storing(qubesd, "feature.Set", "service.cups", refusing)
    after_storing(qubesd, "feature.Remove", "service.cups", refusing)
    (outcome,) = pushed(host, settings({"services": {"cups": True}}))
    assert qubesd.qubes["work"].features == {}
    assert outcome.restored
    assert isinstance(outcome.error, StoreError)


def test_it_says_so_where_qubesd_fails_at_giving_the_former_value_to_a_running_vm(host: Any, qubesd: Any) -> None:
    started(host, qubesd, "work")
    host.agent("work", lambda setting, inputs: "not with this VM" if setting == "services" else "")
    after_storing(qubesd, "feature.Remove", "service.cups", refusing)
    (outcome,) = pushed(host, settings({"services": {"cups": True}}))
    assert qubesd.qubes["work"].features == {}
    assert outcome.restored is False
    assert outcome.comment() == (
        "work refused services: not with this VM; qubesd failed after it stored the former value "
        "(work: services:cups (feature service.cups): QubesDB is dead): if work runs, it may still have 'on'"
    )


def test_what_qubesd_keeps_for_a_vm_whose_qubesdb_is_dead_is_taken_back(host: Any, qubesd: Any) -> None:
    started(host, qubesd, "work")
    qubesd.faults.dead_qubesdb.add("work")
    (outcome,) = pushed(host, settings({"services": {"cups": True}}))
    assert qubesd.qubes["work"].features == {}
    assert outcome.comment() == (
        "work: services:cups (feature service.cups): qubesd refuses it without a reason (its journal may have one);"
        " former values restored"
    )


def test_a_netvm_whose_attaching_takes_longer_than_a_call_may_is_taken_back(
    host: Any, qubesd: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(vars(adminapi.AdminAPI)["open"].__func__, "__defaults__", (0.5,))
    qubesd.qubes["work"].properties["netvm"] = ""
    started(host, qubesd, "sys-net")
    started(host, qubesd, "work")
    qubesd.faults.attach_seconds["work"] = 0.8
    (outcome,) = pushed(host, settings({"netvm": "sys-net"}))
    assert isinstance(outcome.error, DeadlineExceeded)
    assert outcome.restored
    assert qubesd.qubes["work"].properties["netvm"] == ""


def test_what_cannot_be_taken_back_is_named_with_what_it_is_and_was(host: Any, qubesd: Any) -> None:
    after_storing(qubesd, "feature.Set", "service.cups", refusing)
    qubesd.refuse["admin.vm.feature.Remove", "service.cups"] = Refused("QubesVMError", "not now")
    (outcome,) = pushed(host, settings({"timezone": "Europe/Warsaw", "services": {"cups": True}}))
    assert qubesd.qubes["work"].features == {"service.cups": "1"}
    assert isinstance(outcome.error, VerificationFailed)
    assert outcome.comment() == (
        "work: services:cups (feature service.cups): QubesDB is dead; not restored in qubesd: "
        "services:cups (feature service.cups) is 'on', and was 'default' "
        "(work: services:cups (feature service.cups): not now)"
    )


def test_what_another_program_has_set_meanwhile_is_not_overwritten(host: Any, qubesd: Any) -> None:
    def other() -> None:
        qubesd.qubes["work"].features["vm-config.vminterface-timezone"] = "Asia/Tokyo"
        refusing()

    after_storing(qubesd, "feature.Set", "service.cups", other)
    (outcome,) = pushed(host, settings({"timezone": "Europe/Warsaw", "services": {"cups": True}}))
    assert qubesd.qubes["work"].features == {"vm-config.vminterface-timezone": "Asia/Tokyo"}
    assert "timezone (feature vm-config.vminterface-timezone) was set to 'Asia/Tokyo'" in outcome.comment()


def test_a_change_that_was_stored_before_its_deadline_passed_is_taken_back_when_qubesd_goes_on(
    host: Any, qubesd: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(vars(adminapi.AdminAPI)["open"].__func__, "__defaults__", (0.5,))
    busy = threading.Event()
    # Attaching a network takes long, and qubesd does one thing at a time.

    def late_once() -> None:
        if not busy.is_set():
            busy.wait(0.8)
            busy.set()

    after_storing(qubesd, "property.Set", "netvm", late_once)
    failed, fine = pushed(host, settings({"services": {"cups": True}, "netvm": "none"}), settings(WORK, "personal"))
    assert qubesd.qubes["work"].features == {}
    assert qubesd.qubes["work"].properties == {}
    assert isinstance(failed.error, DeadlineExceeded)
    assert failed.comment().startswith("work: netvm (property netvm): ")
    assert failed.comment().endswith("no reply from qubesd within 0.5 s; former values restored")
    assert fine.ok
    assert qubesd.qubes["personal"].properties["netvm"] == ""


def test_a_qubesd_that_hangs_for_good_has_what_may_be_left_named_and_costs_no_more_for_other_vms(
    host: Any, qubesd: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(vars(adminapi.AdminAPI)["open"].__func__, "__defaults__", (0.3,))
    after_storing(qubesd, "property.Set", "netvm", qubesd.hung.set)
    after_storing(qubesd, "property.Set", "netvm", lambda: threading.Event().wait(0.6))
    before = Stopwatch()
    failed, other = pushed(host, settings({"services": {"cups": True}, "netvm": "none"}), settings(WORK, "personal"))
    before.check(0.3 * (1 + PATIENCE) + 2)
    assert isinstance(failed.error, VerificationFailed)
    assert failed.comment().startswith("work: netvm (property netvm): ")
    assert "netvm (property netvm) may be 'none', and was 'default'" in failed.comment()
    assert "services:cups (feature service.cups) may be 'on', and was 'default'" in failed.comment()
    assert isinstance(other.error, DeadlineExceeded)
    assert other.comment().startswith("personal: ")
    assert "work" not in other.comment()


def test_what_qubesd_would_keep_and_stumble_over_is_refused_before_anything_is_sent(host: Any, qubesd: Any) -> None:
    bad = VMSettings(
        "work", {"vm_config:mode": "caf\u00e9", "services:cups": "1"}, persist=True, where="qubes:vms:work"
    )
    for run in (pushed, differing):
        (outcome,) = run(host, bad)
        assert isinstance(outcome.error, InvalidValue)
        assert outcome.comment().startswith("qubes:vms:work:vm_config:mode: 'caf\\xe9' is not a valid text")
        assert qubesd.calls == []


def test_a_name_that_qubesd_does_not_know_is_an_error_of_that_vm_alone(host: Any, qubesd: Any) -> None:
    unknown, known = pushed(host, settings(WORK, "wrok"), settings(WORK))
    assert isinstance(unknown.error, VMNotFound)
    assert known.ok


def test_a_qubesd_that_hangs_costs_its_deadline_once_and_nothing_is_written(
    host: Any, qubesd: Any, monkeypatch: Any
) -> None:
    started(host, qubesd, "work")
    monkeypatch.setattr(vars(adminapi.AdminAPI)["open"].__func__, "__defaults__", (0.5,))
    qubesd.hung.set()
    outcomes = pushed(host, settings(WORK), settings(WORK, "personal"))
    assert [type(one.error) for one in outcomes] == [DeadlineExceeded] * 2
    assert [str(one.error).partition(":")[0] for one in outcomes] == ["work", "personal"]
    assert host.read("work", "qubes-timezone") == "Etc/UTC"


def test_persist_false_leaves_qubesd_alone_and_the_pushed_zone_is_the_one_that_counts(host: Any, qubesd: Any) -> None:
    started(host, qubesd, "work")
    pushed(host, settings({"timezone": "Asia/Tokyo"}))
    changing(qubesd)
    (outcome,) = pushed(host, settings({"timezone": "Europe/Warsaw"}, persist=False))
    assert outcome.ok
    assert changing(qubesd) == []
    assert host.read("work", "qubes-timezone") == "Europe/Warsaw"
    assert host.read("work", "vm-config/vminterface-timezone") is None


def test_a_lasting_key_that_the_vm_overwrote_is_drift_and_is_mended(host: Any, qubesd: Any) -> None:
    started(host, qubesd, "work")
    pushed(host, settings({"timezone": "Europe/Warsaw"}))
    with host.guest_store("work") as guest:
        guest.write("vm-config/vminterface-timezone", b"Mars/Olympus")
    (found,) = differing(host, settings({"timezone": "Europe/Warsaw"}))
    assert set(found.changes) == {"lasting:timezone"}
    pushed(host, settings({"timezone": "Europe/Warsaw"}))
    assert host.read("work", "vm-config/vminterface-timezone") == "Europe/Warsaw"


def test_without_the_client_nothing_lasts_unless_the_pillar_asks_for_it(host: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(adminapi, "available", lambda: False)
    monkeypatch.setitem(__import__("sys").modules, "qubesadmin", None)
    monkeypatch.setitem(__import__("sys").modules, "qubesadmin.app", None)
    host.start_vm("work")
    (outcome,) = pushed(host, settings({"timezone": "Europe/Warsaw"}))
    assert set(outcome.changes) == {"timezone"}
    (asked,) = pushed(host, settings({"timezone": "Europe/Warsaw"}, persist=True))
    assert isinstance(asked.error, ProgramMissing)
    assert str(asked.error).startswith("work: qubesadmin")
    (netvm,) = pushed(host, settings({"netvm": "sys-net"}))
    assert isinstance(netvm.error, InvalidValue)
    assert "netvm" in str(netvm.error)


def test_the_pillar_says_what_lasts_and_faults_have_their_paths() -> None:
    raw = {
        "qubes": {
            "vms": {"a": {"netvm": "no/name"}, "b": {"netvm": "sys-net", "persist": False}, "c": {"persist": "perhaps"}}
        }
    }
    with pytest.raises(InvalidValues) as told:
        parse_pillar(raw)
    assert [fault.where for fault in told.value.errors] == [
        "qubes:vms:a:netvm",
        "qubes:vms:b:netvm",
        "qubes:vms:c:persist",
    ]
    base = {
        "qubes": {"defaults": {"netvm": "sys-net"}, "vms": {"a": None, "b": {"netvm": None}, "c": {"netvm": "none"}}}
    }
    assert [one.netvm for one in parse_pillar(base)] == ["sys-net", None, ""]
    assert [one.netvm for one in parse_pillar(base, only=["timezone"])] == [None, None, None]
    assert [one.netvm for one in parse_pillar(base, only=["netvm"])] == ["sys-net", None, ""]


def test_confirm_false_does_not_wait_for_the_agent(host: Any) -> None:
    host.start_vm("work")
    host.agent("work", lambda setting, inputs: None)
    (outcome,) = pushed(host, settings({"timezone": "Europe/Warsaw"}, confirm=False, persist=False, timeout=30))
    assert outcome.ok
    assert "was not waited for" in outcome.comment()
    assert host.read("work", "qubes-timezone") == "Europe/Warsaw"
