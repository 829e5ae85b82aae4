"""Keys that qubesd writes itself at each start of a VM: what ``default`` is then, and what lasts until that start."""

from __future__ import annotations

import pytest

from tests.support.qubesr4 import QubesR4
from vminterface.channel import adminapi
from vminterface.errors import DeadlineExceeded, InvalidValue

OWN_KEYMAP = "xkb_keymap { };"


@pytest.mark.parametrize("word", ["on", "off"])
def test_meminfo_writer_is_a_live_key_alone_and_a_push_converges(r4: QubesR4, word: str) -> None:
    r4.qubesd.qubes["work"].properties["maxmem"] = "1234"
    desired = r4.settings(services={"meminfo-writer": word, "cups": "on"})
    first = r4.push(desired)[0]
    assert first.ok
    assert r4.changed() == [("admin.vm.feature.Set", "service.cups")]
    assert r4.qubesd.qubes["work"].properties["maxmem"] == "1234"
    assert r4.host.read("work", "qubes-service/meminfo-writer") == ("1" if word == "on" else "0")
    remark = "services:meminfo-writer holds until the VM's next start, because qubesd always writes it then"
    assert first.comment().endswith(remark)
    for run in (r4.push, r4.diff):
        (again,) = run(desired)
        assert again.changes == {}
        assert again.comment() == f"work is already as configured; {remark}"


@pytest.mark.parametrize(("maxmem", "key"), [("4000", "1"), ("0", "0")])
def test_default_of_meminfo_writer_is_what_qubesd_makes_of_maxmem(r4: QubesR4, maxmem: str, key: str) -> None:
    r4.qubesd.qubes["work"].properties["maxmem"] = maxmem
    r4.start("work")
    desired = r4.settings(services={"meminfo-writer": "default"})
    assert r4.diff(desired)[0].changes == {}
    r4.push(r4.settings(services={"meminfo-writer": "off" if key == "1" else "on"}))
    (outcome,) = r4.push(desired)
    assert r4.host.read("work", "qubes-service/meminfo-writer") == key
    assert r4.changed() == []
    assert outcome.comment() == "work: services:meminfo-writer set; no agent is running in the VM"


def test_a_vm_that_does_not_run_keeps_its_memory_settings(r4: QubesR4) -> None:
    (outcome,) = r4.push(r4.settings("personal", services={"meminfo-writer": "off"}))
    assert (outcome.error, outcome.changes) == (None, {})
    assert r4.changed() == []


@pytest.mark.parametrize("persist", [True, None])
def test_several_layouts_are_refused_at_their_path_before_anything_is_sent(r4: QubesR4, persist: bool | None) -> None:
    desired = r4.settings(keyboard="us,ru", services={"cups": "on"}, persist=persist)
    for run in (r4.diff, r4.push):
        (outcome,) = run(desired)
        assert isinstance(outcome.error, InvalidValue)
        assert outcome.comment() == (
            "qubes:vms:work:keyboard: qubesd stores one layout, not 'us,ru' (expected letters, then +VARIANT+OPTIONS;"
            " with persist: false several are pushed to the running VM only)"
        )
    assert r4.qubesd.calls == []
    (outcome,) = r4.push(r4.settings(defaults={"keyboard": "us,ru"}))
    assert outcome.comment().startswith("qubes:defaults:keyboard: ")


def test_several_layouts_are_pushed_to_the_running_vm_without_persist(r4: QubesR4) -> None:
    assert r4.push(r4.settings(keyboard="us,ru", persist=False))[0].ok
    assert r4.host.read("work", "keyboard-layout") == "us,ru++"


def test_a_keymap_of_dom0s_gui_daemon_is_no_difference_on_its_own(r4: QubesR4) -> None:
    desired = r4.settings(keyboard="pl+dvorak")
    r4.push(desired)
    with r4.host.store("work") as store:
        store.write("/qubes-keyboard", b"xkb_keymap { of the daemon };")
    assert r4.diff(desired)[0].changes == {}
    assert r4.push(r4.settings(keymap=OWN_KEYMAP))[0].changes == {}
    assert set(r4.diff(r4.settings(keyboard="de"))[0].changes) == {"persistent:keyboard", "keyboard", "keymap"}


def test_a_keymap_is_compared_where_the_vm_has_no_layout(r4: QubesR4) -> None:
    with r4.host.store("work") as store:
        store.remove("/keyboard-layout")
    desired = r4.settings(keymap=OWN_KEYMAP)
    assert set(r4.push(desired)[0].changes) == {"keymap"}
    assert r4.host.read("work", "qubes-keyboard") == OWN_KEYMAP


@pytest.mark.parametrize("persist", [True, False])
@pytest.mark.parametrize(
    ("field", "value", "key", "name", "of_qubesd"),
    [
        ("keyboard", "pl+dvorak", "keyboard-layout", "keyboard_layout", "us++"),
        ("debug", "on", "qubes-debug-mode", "debug", "0"),
    ],
)
def test_default_is_the_key_that_qubesd_writes_so_that_no_start_makes_a_difference(
    r4: QubesR4, persist: bool, field: str, value: str, key: str, name: str, of_qubesd: str
) -> None:
    default = r4.settings(defaults=None, **{field: "default"}, persist=persist)
    assert r4.diff(default)[0].changes == {}
    r4.push(r4.settings(defaults=None, **{field: value}, persist=persist))
    assert r4.push(default)[0].ok
    assert r4.host.read("work", key) == of_qubesd
    assert name not in r4.qubesd.qubes["work"].properties
    assert r4.diff(default)[0].changes == {}
    r4.start("work")
    assert r4.host.read("work", key) == of_qubesd
    assert r4.diff(default)[0].changes == {}


def test_default_without_persist_is_what_qubesd_holds_now(r4: QubesR4) -> None:
    r4.qubesd.qubes["work"].properties["keyboard_layout"] = "de++"
    r4.start("work")
    assert r4.host.read("work", "keyboard-layout") == "de++"
    assert r4.diff(r4.settings(keyboard="default", persist=False))[0].changes == {}
    (kept,) = r4.push(r4.settings(keyboard="default"))
    assert kept.fields["keyboard"].new == "us"
    assert r4.qubesd.qubes["work"].properties == {}


def test_default_of_a_layout_is_no_key_where_the_vm_has_no_windows(r4: QubesR4) -> None:
    r4.qubesd.qubes["work"].properties["guivm"] = ""
    r4.start("work")
    assert r4.host.read("work", "keyboard-layout") is None
    assert r4.diff(r4.settings(keyboard="default"))[0].changes == {}


def test_default_of_what_qubesd_alone_decides_is_left_to_it(r4: QubesR4) -> None:
    desired = r4.settings(type="default", default_user="default", base_template="default", debug="off")
    (outcome,) = r4.diff(desired)
    assert outcome.changes == {}
    assert outcome.comment().endswith(
        "the default of type, base_template takes effect at the VM's next start, when qubesd writes it"
    ) or outcome.comment().endswith(
        "the default of type, default_user, base_template takes effect at the VM's next start, when qubesd writes it"
    )
    assert r4.host.read("work", "qubes-vm-type") == "AppVM"


def test_a_dead_qubesd_fails_what_depends_on_it_and_nothing_else(r4: QubesR4, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vars(adminapi.AdminAPI)["open"].__func__, "__defaults__", (0.3,))
    r4.qubesd.hung.set()
    (asking,) = r4.push(r4.settings(debug="default", persist=False))
    assert isinstance(asking.error, DeadlineExceeded)
    assert asking.comment().startswith("work: debug (property debug): ")
    (fine,) = r4.push(r4.settings(debug="on", persist=False))
    assert fine.ok
