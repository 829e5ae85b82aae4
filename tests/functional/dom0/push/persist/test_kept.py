"""Features and properties that qubesd alone keeps: compared first, one call each, taken back where one fails."""

from __future__ import annotations

from typing import Any

import pytest

from lab.qubesd import Qube, Refused
from tests.support.qubesr4 import QubesR4
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.persist.live import decided_by
from vminterface.dom0.results import known
from vminterface.dom0.results.returns import changes_of
from vminterface.errors import InvalidValue, InvalidValues, VMNotFound

WANTED: dict[str, Any] = {
    "label": "red",
    "memory": "1GiB",
    "maxmem": 3000,
    "vcpus": 3,
    "autostart": True,
    "template_for_dispvms": "on",
    "guivm": "personal",
    "audiovm": "none",
    "features": {
        "gui-allow-fullscreen": False,
        "gui-secure-copy-sequence": "Mod4-c",
        "gui-videoram-min": 16384,
        "no-monitor-layout": True,
        "boot-mode.name.kiosk": "Kiosk mode",
        "menu-items": ["org.example.Viewer.desktop", "xterm.desktop"],
        "custom-persist.docs": "dir:user:user:0750:/home/user/docs",
        "x-mine": "a text",
    },
}
PROPERTIES = {
    "label": "red", "memory": "1024", "maxmem": "3000", "vcpus": "3", "autostart": "True",
    "template_for_dispvms": "True", "guivm": "personal", "audiovm": "",
}  # fmt: skip
FEATURES = {
    "gui-allow-fullscreen": "", "gui-secure-copy-sequence": "Mod4-c", "gui-videoram-min": "16384",
    "no-monitor-layout": "1", "boot-mode.name.kiosk": "Kiosk mode",
    "menu-items": "org.example.Viewer.desktop xterm.desktop",
    "custom-persist.docs": "dir:user:user:0750:/home/user/docs", "x-mine": "a text",
}  # fmt: skip
FIELDS_OF_OTHERS = ("persist", "remote", "audio_input", "connected_ips", "connected_ips6")


def held(r4: QubesR4, vm: str = "work") -> Qube:
    return r4.qubesd.qubes[vm]


def ok(outcomes: list[Outcome]) -> dict[str, Any]:
    (outcome,) = outcomes
    assert outcome.ok, outcome.comment()
    return changes_of(outcome)


@pytest.mark.parametrize("vm", ["work", "personal"])
def test_one_call_for_each_difference_and_then_none(r4: Any, vm: Any) -> None:
    desired = r4.settings(vm, **{**WANTED, "guivm": "work" if vm == "personal" else "personal"})
    would = ok(r4.diff(desired))
    assert r4.changed() == []
    assert set(would) == {f"persistent:{name}" for name in PROPERTIES} | {
        f"persistent:features:{name}" for name in FEATURES
    }
    assert ok(r4.push(desired)) == would
    calls = r4.changed()
    assert sorted(calls) == sorted(
        [*(("admin.vm.property.Set", name) for name in PROPERTIES), *(("admin.vm.feature.Set", n) for n in FEATURES)]
    )
    assert {name: held(r4, vm).features[name] for name in FEATURES} == FEATURES
    assert {name: held(r4, vm).properties[name] for name in PROPERTIES if name != "guivm"} == {
        name: text for name, text in PROPERTIES.items() if name != "guivm"
    }
    for run in (r4.push, r4.diff):
        assert ok(run(desired)) == {}
    assert r4.changed() == []


def test_a_running_vm_has_the_key_of_a_file_that_it_keeps_at_once(r4: Any) -> None:
    ok(r4.push(r4.settings(features={"custom-persist.docs": "/home/user/docs"})))
    assert r4.host.read("work", "persist/docs") == "/home/user/docs"
    ok(r4.push(r4.settings(features={"custom-persist.docs": "default"})))
    assert r4.host.read("work", "persist/docs") is None


def test_changes_have_the_words_of_the_pillar(r4: Any) -> None:
    held(r4).features["internal"] = "1"
    held(r4).properties |= {"guivm": "", "memory": "400"}
    desired = r4.settings(guivm="default", memory=800, maxmem=False, label="red", features={"internal": "off"})
    assert ok(r4.diff(desired)) == {
        "persistent:guivm": {"old": "none", "new": "default"},
        "persistent:memory": {"old": 400, "new": 800},
        "persistent:maxmem": {"old": "default", "new": 0},
        "persistent:label": {"old": "default", "new": "red"},
        "persistent:features:internal": {"old": "on", "new": "off"},
    }


@pytest.mark.parametrize("text", ["True", "0", "yes"])
def test_any_text_is_on_for_a_flag(r4: Any, text: Any) -> None:
    held(r4).features["internal"] = text
    assert ok(r4.push(r4.settings(features={"internal": True}))) == {}
    assert r4.changed() == []


def test_default_lets_qubesd_forget_and_what_is_its_default_is_not_set(r4: Any) -> None:
    held(r4).features.update({"internal": "1", "x-mine": ""})
    held(r4).properties |= {"memory": "500", "autostart": "True"}
    desired = r4.settings(
        memory="default", autostart="default", vcpus=2, features={"internal": "default", "gui": "default"}
    )
    assert set(ok(r4.push(desired))) == {f"persistent:{n}" for n in ("memory", "autostart", "features:internal")}
    assert not {"memory", "autostart", "vcpus"} & held(r4).properties.keys()
    assert held(r4).features == {"x-mine": ""}
    assert ok(r4.push(desired)) == {}


def test_defaults_of_the_pillar_lie_under_a_vms_own_features_by_name(r4: Any) -> None:
    desired = r4.settings(
        defaults={"features": {"internal": True, "x-mine": "a", "gui": True}, "memory": 500},
        features={"x-mine": "b", "gui": None},
        memory=None,
    )
    ok(r4.push(desired))
    assert held(r4).features == {"internal": "1", "x-mine": "b"}
    assert "memory" not in held(r4).properties


@pytest.mark.parametrize("failing", ["memory", "label"])
def test_all_is_taken_back_where_one_call_fails(r4: Any, failing: Any) -> None:
    held(r4).features["x-mine"] = "before"
    held(r4).properties["memory"] = "500"
    before = dict(held(r4).features), dict(held(r4).properties)
    r4.qubesd.refuse[("admin.vm.property.Set", failing)] = Refused("QubesException", "not now")
    (outcome,) = r4.push(r4.settings(**WANTED, services={"cups": "on"}))
    assert f"work: {failing} (property {failing}): not now" in outcome.comment()
    assert outcome.comment().endswith("former values restored") is (outcome.restored is True)
    assert (held(r4).features, held(r4).properties) == before
    assert outcome.changes == {}


def test_what_is_stored_before_its_call_fails_is_taken_back_too(r4: Any) -> None:
    def fail() -> None:
        raise Refused("QubesException", "stored, but")

    r4.qubesd.faults.afterwards[("admin.vm.feature.Set", "x-mine")] = [fail]
    (outcome,) = r4.push(r4.settings(features={"internal": True, "x-mine": "a"}))
    assert outcome.restored is True
    assert "features:x-mine (feature x-mine): stored, but" in outcome.comment()
    assert held(r4).features == {}


def test_what_takes_effect_at_the_next_start_is_said_of_a_vm_that_runs(r4: Any) -> None:
    desired = {"memory": 500, "autostart": True, "features": {"internal": True, "gui-videoram-min": 1}}
    (would,) = r4.diff(r4.settings(**desired))
    (done,) = r4.push(r4.settings(**desired))
    said = "features:gui-videoram-min, memory take effect at the VM's next start"
    assert said in would.comment(test=True)
    assert done.comment().endswith(said)
    (again,) = r4.push(r4.settings(**desired))
    assert again.comment() == "work is already as configured"
    (halted,) = r4.push(r4.settings("personal", **desired))
    assert "take effect at the VM's next start" not in halted.comment()


@pytest.mark.parametrize("field", ["guivm", "audiovm"])
def test_a_vm_that_is_named_has_to_be_known_and_dom0_is(r4: Any, field: Any) -> None:
    (outcome,) = r4.diff(r4.settings(**{field: "persnal"}))
    assert isinstance(outcome.error, VMNotFound)
    assert (
        outcome.comment() == f"qubes:vms:work:{field}: qubesd does not know a VM 'persnal' (did you mean 'personal'?)"
    )
    assert ok(r4.push(r4.settings(**{field: "dom0"}))) == {}


@pytest.mark.parametrize("raw", [{"memory": 400}, {"features": {"gui": True}}, {"provides_network": True}])
def test_without_qubesd_and_with_persist_false_it_is_an_error(r4: Any, tmp_path: Any, raw: Any) -> None:
    with pytest.raises(InvalidValues) as caught:
        r4.settings(persist=False, **raw)
    assert "only stored by qubesd (expected persist not to be false)" in str(caught.value)
    r4.qubesd.stop_listening()
    (outcome,) = r4.push(VMSettings.parse("work", raw))
    assert isinstance(outcome.error, InvalidValue)
    assert "is only stored by qubesd" in outcome.comment()


def test_a_push_of_a_topic_leaves_the_others(r4: Any) -> None:
    ok(r4.push(r4.settings(**WANTED).only(["label", "features"])))
    assert held(r4).properties.keys() & PROPERTIES.keys() == {"label"}
    assert held(r4).features == FEATURES


def test_near_misses_are_noted_and_done(r4: Any) -> None:
    (outcome,) = r4.push(r4.settings(features={"gui-allow-fullscren": True, "my-own": "off"}))
    assert outcome.ok
    assert "features:gui-allow-fullscren is not a feature of Qubes (did you mean 'gui-allow-fullscreen'?)" in (
        outcome.comment()
    )
    assert "features:my-own: 'off' is a text, which qubesd treats as on (expected off without quotes)" in (
        outcome.comment()
    )
    assert held(r4).features == {"gui-allow-fullscren": "1", "my-own": "off"}


def test_keys_that_qubesd_writes_for_others_are_known(r4: Any) -> None:
    keys = {
        "persist/docs": "/home/user/docs",
        "remote/far-work": "work",
        "audio-input-config/personal": "1",
        "connected-ips": "10.137.0.7 10.137.0.8",
        "connected-ips6": "fd09:24ef:4179::a89:7",
    }
    with r4.host.store("work") as store:
        for key, text in {**keys, "audio-input-config/9vm": "1", "remote/other": "\x07"}.items():
            store.write(f"/{key}", text.encode())
    with r4.host.targets() as targets:
        found, faults = known.read(targets, only="work")
    assert not faults
    shown = found["work"]["keys"]
    assert {name: shown[name] for name in shown if name.partition(":")[0] in FIELDS_OF_OTHERS} == {
        "persist:docs": "/home/user/docs",
        "remote:far-work": "work",
        "audio_input:personal": "on",
        "connected_ips": "10.137.0.7 10.137.0.8",
        "connected_ips6": "fd09:24ef:4179::a89:7",
    }
    assert {"audio_input:*", "remote:other"} <= set(found["work"]["invalid"])


def test_the_watcher_hears_of_others_that_change_them(r4: Any) -> None:
    desired = r4.settings(label="red", features={"internal": True}, services={"qubes-update-check": True})
    assert decided_by(desired) == {"property label", "feature internal", "feature check-updates"}


# Fields that are about one thing.


def test_a_vm_that_provides_network_serves_others_unless_the_pillar_says_otherwise(r4: Any) -> None:
    desired = r4.settings(provides_network=True)
    assert ok(r4.push(desired)) == {"persistent:provides_network": {"old": "default", "new": "on"}}
    assert held(r4).features == {"servicevm": "1"}
    assert ok(r4.push(desired)) == {}
    ok(r4.push(r4.settings(provides_network=False)))
    assert held(r4).features == {}
    both = r4.settings(provides_network=True, features={"servicevm": False})
    would = ok(r4.diff(both))
    assert ok(r4.push(both)) == would
    assert held(r4).features == {"servicevm": ""}
    assert ok(r4.push(both)) == {}


@pytest.mark.parametrize("servicevm", ["1", "", None])
def test_what_qubesd_makes_of_a_provider_is_taken_back_with_it(r4: Any, servicevm: Any) -> None:
    if servicevm is not None:
        held(r4).features["servicevm"] = servicevm
    before = dict(held(r4).features)
    r4.qubesd.refuse[("admin.vm.property.Set", "vcpus")] = Refused("QubesException", "not now")
    (outcome,) = r4.push(r4.settings(provides_network=True, vcpus=5))
    assert outcome.restored is True
    assert held(r4).features == before
    assert "provides_network" not in held(r4).properties


def test_a_mapping_for_a_provider_sets_the_property_where_there_is_a_qubesd(r4: Any) -> None:
    network = {"gateway": "10.137.0.9"}
    changes = ok(r4.push(r4.settings(provides_network=network)))
    assert changes["persistent:provides_network"] == {"old": "default", "new": "on"}
    assert r4.host.read("work", "qubes-netvm-gateway") == "10.137.0.9"
    changes = ok(r4.push(r4.settings(provides_network="none")))
    assert changes["persistent:provides_network"] == {"old": "on", "new": "off"}
    assert r4.host.read("work", "qubes-netvm-gateway") is None


def test_providers_come_first_and_those_that_cease_last(r4: Any) -> None:
    r4.qubesd.qubes["old"] = Qube(properties={"provides_network": "True", "netvm": ""}, features={"servicevm": "1"})
    held(r4, "personal").properties["netvm"] = "old"
    pillar = [
        r4.settings("old", provides_network=False),
        r4.settings("personal", netvm="work"),
        r4.settings("work", provides_network=True),
    ]
    outcomes = r4.push(*pillar)
    assert [outcome.vm for outcome in outcomes] == ["old", "personal", "work"]
    assert all(outcome.ok for outcome in outcomes), [outcome.comment() for outcome in outcomes]
    assert held(r4, "personal").properties["netvm"] == "work"


@pytest.mark.parametrize(("maxmem", "key"), [(0, "0"), (False, "0"), (4000, "1"), ("default", "1")])
def test_default_of_meminfo_writer_is_what_the_new_maxmem_makes_of_it(r4: Any, maxmem: Any, key: Any) -> None:
    held(r4).properties["maxmem"] = "4000" if key == "0" else "0"
    desired = r4.settings(maxmem=maxmem, services={"meminfo-writer": "default"})
    ok(r4.push(desired))
    assert r4.host.read("work", "qubes-service/meminfo-writer") == key
    r4.start("work")
    assert ok(r4.push(desired)) == {}


def test_a_default_that_another_field_makes_a_different_one_does_not_count(r4: Any) -> None:
    held(r4).features["os"] = "Linux"
    assert r4.qubesd.system.value("work", "maxmem") == "4000"
    desired = r4.settings(memory=800, maxmem=4000)
    assert set(ok(r4.push(desired))) == {"persistent:memory", "persistent:maxmem"}
    assert ok(r4.push(desired)) == {}
    assert ok(r4.push(r4.settings("personal", memory=400, maxmem=4000))) == {}


def test_the_default_layout_is_that_of_the_new_guivm(r4: Any) -> None:
    held(r4, "personal").properties["keyboard_layout"] = "pl+dvorak+"
    desired = r4.settings(guivm="personal", keyboard="default")
    ok(r4.push(desired))
    r4.start("work")
    assert r4.host.read("work", "keyboard-layout") == "pl+dvorak+"
    assert ok(r4.push(desired)) == {}


def test_a_service_that_maxmem_switches_off_is_noted(r4: Any) -> None:
    (outcome,) = r4.push(r4.settings(maxmem=0, services={"meminfo-writer": "on"}))
    assert "maxmem: 0 switches services:meminfo-writer off at the VM's next start" in outcome.comment()


@pytest.mark.parametrize("before", [{}, {"service.qubes-update-check": "1"}, {"check-updates": "1"}])
@pytest.mark.parametrize("raw", [{"features": {"check-updates": False}}, {"services": {"qubes-update-check": False}}])
def test_updates_have_one_switch_and_no_start_makes_a_difference(r4: Any, before: Any, raw: Any) -> None:
    held(r4).features.update(before)
    ok(r4.push(r4.settings(**raw)))
    assert held(r4).features == {"check-updates": ""}
    assert r4.host.read("work", "qubes-service/qubes-update-check") == "0"
    r4.start("work")
    assert r4.host.read("work", "qubes-service/qubes-update-check") == "0"
    assert ok(r4.push(r4.settings(**raw))) == {}


def test_two_words_about_updates_have_to_be_one(r4: Any) -> None:
    with pytest.raises(InvalidValues) as caught:
        r4.settings(features={"check-updates": True}, services={"qubes-update-check": False})
    assert str(caught.value).startswith("qubes:vms:work:features:check-updates: ")
    both = r4.settings(features={"check-updates": True}, services={"qubes-update-check": True})
    ok(r4.push(both))
    assert held(r4).features == {"check-updates": "1"}
    assert ok(r4.push(both)) == {}


@pytest.mark.parametrize("default", ["Europe/Warsaw", None])
def test_a_vm_that_becomes_anonymous_has_no_zone_of_the_defaults(r4: Any, default: Any) -> None:
    defaults = {"timezone": default} if default else {}
    r4.push(r4.settings(defaults={"timezone": "Europe/Warsaw"}))
    desired = r4.settings(
        defaults=defaults, features={"anon-timezone": True}, **({} if default else {"timezone": "default"})
    )
    ok(r4.push(desired))
    assert held(r4).features == {"anon-timezone": "1"}
    assert r4.host.read("work", "qubes-timezone") is None
    assert r4.host.read("work", "vm-config/vminterface-timezone") is None
    r4.start("work")
    assert ok(r4.push(desired)) == {}


def test_a_vm_that_ceases_to_be_anonymous_has_the_zone_of_the_defaults(r4: Any) -> None:
    held(r4).features["anon-timezone"] = "1"
    r4.start("work")
    desired = r4.settings(defaults={"timezone": "Europe/Warsaw"}, features={"anon-timezone": "default"})
    ok(r4.push(desired))
    assert r4.host.read("work", "qubes-timezone") == "Europe/Warsaw"
