"""Features in the lab's qubesd: their limits, and what the extensions make of them, as measured on R4.3."""

from __future__ import annotations

import base64
import hashlib

import pytest

from lab.qubesd.daemon import Qubesd
from tests.functional.lab.qubesd.conftest import Keys
from tests.support.qubesdcalls import NOTHING, Error, Vm, error_of

VALUE = "QubesValueError"


@pytest.mark.parametrize(
    ("name", "value"),
    [("x", ""), ("x", "0"), ("x", "True"), ("x", "a  b ~"), ("X_y-z.9", "1"), ("net.fake-ip", "nope")],
)
def test_printable_text_is_kept_as_it_is(work: Vm, name: str, value: str) -> None:
    assert work.feature(name, value) == value
    assert work.call("feature.List") == f"{name}\n"
    assert work.call("feature.Remove", name) == ""
    assert work.call("feature.List") == ""


@pytest.mark.parametrize(
    ("name", "value", "reply"),
    [
        ("", "1", Error(VALUE, "feature name contains illegal characters")),
        ("a/b", "1", Error(VALUE, "feature name contains illegal characters")),
        ("a@b", "1", Error(VALUE, "feature name contains illegal characters")),
        ("x", "a\nb", Error(VALUE, "x value contains illegal characters")),
        ("x", "a\tb", Error(VALUE, "x value contains illegal characters")),
        ("x", "a\0b", Error(VALUE, "x value contains illegal characters")),
        ("x", "caf\u00e9", NOTHING),
        ("preload-dispvm", "", NOTHING),
        ("preload-dispvm-max", "1", Error(VALUE, "Qube does not support qrexec")),
        ("service.", "1", Error(VALUE, "Service name cannot be empty")),
        ("service..", "1", Error(VALUE, 'Service name cannot be "." or ".."')),
        ("service." + "a" * 49, "1", Error(VALUE, "Service name must not exceed 48 bytes")),
    ],
)
def test_what_is_refused_is_not_kept(work: Vm, name: str, value: str, reply: Error | None) -> None:
    assert work.feature(name, value) == reply
    assert work.call("feature.List") == ""


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("vm-config.", "1", "Empty config name not allowed"),
        ("vm-config.1st", "1", "Config name must start with an ASCII letter"),
        ("vm-config." + "a" * 53, "1", "VM config name must not exceed 46 bytes"),
        ("custom-persist.", "/rw", "custom-persist key cannot be empty"),
        ("custom-persist.home", "home", "invalid value format: 'home'"),
        ("custom-persist.home", "dir:user:user:0755", "invalid value format: 'dir:user:user:0755'"),
        (
            "custom-persist.home",
            "link:user:user:0755:/rw",
            "invalid resource type option 'link' in value 'link:user:user:0755:/rw'",
        ),
        (
            "custom-persist.home",
            "dir:user:user:0999:/rw",
            "invalid mode option '0999' in value 'dir:user:user:0999:/rw'",
        ),
    ],
)
def test_what_an_extension_refuses_stays_all_the_same(
    qubesd: Qubesd, work: Vm, name: str, value: str, sentence: str
) -> None:
    assert work.feature(name, value) == Error(VALUE, sentence)
    assert qubesd.qubes["work"].features == {name: value}


def test_a_feature_that_is_not_set_is_an_error(work: Vm) -> None:
    absent = Error("QubesFeatureNotFoundError", "Feature not set for domain work: x")
    assert work.call("feature.Get", "x") == absent
    assert work.call("feature.Remove", "x") == absent


def test_a_check_looks_where_its_name_says(qubesd: Qubesd, work: Vm) -> None:
    checks = ("Template", "Netvm", "AdminVM", "TemplateAndAdminVM")

    def found() -> list[str]:
        return [one for one in checks if work.call(f"feature.CheckWith{one}", "x") == "1"]

    for vm, expected in (
        ("fedora", ["Template", "TemplateAndAdminVM"]),
        ("sys-net", ["Netvm"]),
        ("dom0", ["AdminVM", "TemplateAndAdminVM"]),
        ("work", list(checks)),
    ):
        Vm(qubesd, vm).feature("x", "1")
        assert found() == expected
        assert vm == "work" or error_of(work.call("feature.Get", "x")).kind == "QubesFeatureNotFoundError"
        Vm(qubesd, vm).call("feature.Remove", "x")


def test_meminfo_writer_becomes_maxmem_and_is_no_feature(qubesd: Qubesd, work: Vm) -> None:
    assert work.call("feature.Set", "service.meminfo-writer", "") == ""
    assert work.get("maxmem") == "0"
    assert qubesd.qubes["work"].features == {}
    assert work.call("feature.Set", "service.meminfo-writer", "1") == ""
    assert work.call("property.Get", "maxmem") == "default=True type=int 4000"
    assert qubesd.qubes["work"].features == {}
    assert error_of(work.call("feature.Remove", "service.meminfo-writer")).kind == "QubesFeatureNotFoundError"


def test_keys_of_a_running_vm_follow_its_features(qubesd: Qubesd, work: Vm, keys: Keys) -> None:
    work.feature("service.cups", "1")
    assert keys == {}
    qubesd.start_vm("work")
    assert keys["work"]["qubes-service/cups"] == "1"
    work.feature("service.cups", "")
    assert keys["work"]["qubes-service/cups"] == "0"
    work.call("feature.Remove", "service.cups")
    assert "qubes-service/cups" not in keys["work"]
    work.feature("vm-config.mode", "quiet")
    assert keys["work"]["vm-config/mode"] == "quiet"
    work.call("feature.Remove", "vm-config.mode")
    assert "vm-config/mode" not in keys["work"]
    work.feature("custom-persist.home", "dir:user:user:0755:/rw/home")
    assert keys["work"]["persist/home"] == "dir:user:user:0755:/rw/home"
    # Neither this one nor its removal is anybody's key.
    work.feature("anon-timezone", "1")
    assert keys["work"]["qubes-timezone"] == "Etc/UTC"


def test_a_long_service_is_kept_by_the_hash_of_its_name(qubesd: Qubesd, work: Vm, keys: Keys) -> None:
    qubesd.start_vm("work")
    app = "org.example." + "a" * 40
    assert work.feature(f"service.app-dispvm.{app}", "1") == "1"
    digest = base64.urlsafe_b64encode(hashlib.sha256(app.encode()).digest()).decode().rstrip("=")
    assert keys["work"][f"hash-app-dispvm/{digest}"] == app
    work.feature(f"service.app-dispvm.{app}", "")
    assert keys.below("work", "hash-app-dispvm") == {}


def test_a_value_that_is_too_long_for_a_key_is_kept_while_the_vm_is_off_and_lets_it_not_start(
    qubesd: Qubesd, work: Vm
) -> None:
    assert work.feature("vm-config.long", "x" * 60000) == "x" * 60000
    assert work.call("Start") is NOTHING
    assert qubesd.qubes["work"].state == "Halted"
    work.call("feature.Remove", "vm-config.long")
    assert work.call("Start") == ""
    assert work.call("feature.Set", "vm-config.long", "x" * 60000) is NOTHING
    assert work.call("feature.Get", "vm-config.long") == "x" * 60000


def test_a_bad_custom_persist_lets_the_vm_not_start(qubesd: Qubesd, work: Vm, keys: Keys) -> None:
    work.feature("custom-persist.home", "home")
    assert work.call("Start") == Error(VALUE, "invalid value format: 'home'")
    assert (qubesd.qubes["work"].state, "work" in keys) == ("Halted", False)
    assert ("work", "domain-start-failed") in qubesd.events.log


def test_what_was_stored_stays_where_the_vms_qubesdb_fails(qubesd: Qubesd, work: Vm) -> None:
    qubesd.start_vm("work")
    qubesd.faults.dead_qubesdb.add("work")
    assert work.feature("service.cups", "1") is NOTHING
    assert work.call("feature.Get", "service.cups") == "1"
    assert work.call("feature.Remove", "service.cups") is NOTHING
    assert error_of(work.call("feature.Get", "service.cups")).kind == "QubesFeatureNotFoundError"
    assert work.set("keyboard_layout", "pl++") is NOTHING
    assert work.get("keyboard_layout") == "pl++"
