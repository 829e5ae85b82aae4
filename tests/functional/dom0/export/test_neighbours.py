"""What cannot be exported costs no other field of its VM: that one is left out, with its own reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.qubesr4 import QubesR4, whole_r4
from tests.support.rpcstandin import until
from tests.support.stores import need
from vminterface.cli import pillaryaml
from vminterface.dom0.desired.settings import parse_pillar
from vminterface.dom0.export import render, settle
from vminterface.dom0.export.export import export
from vminterface.dom0.export.vmexport import VMExport
from vminterface.dom0.push.push import diff


def left_of(one: VMExport) -> dict[str, str]:
    return {":".join(path): why for path, why in one.left_out.items()}


@pytest.fixture
def r4(tmp_path: Path) -> Iterator[QubesR4]:
    with whole_r4(tmp_path) as host:
        host.start("sys-net")
        yield host


def exported(r4: QubesR4) -> VMExport:
    """Return the export of work, of which a diff finds nothing to change."""
    with r4.host.targets() as targets:
        [one] = export(targets, ["work"])
    assert one.error == ""
    [outcome] = r4.diff(*parse_pillar(pillaryaml.load("exported", render.as_yaml([one]))))
    assert (outcome.changes, outcome.error) == ({}, None)
    return one


@pytest.mark.parametrize("value", ["", "1"])
def test_a_feature_that_brings_a_service_with_it_is_left_out_alone(r4: QubesR4, value: str) -> None:
    features = r4.qubesd.qubes["work"].features
    features.update({"x-own": "a", "vm-config.a": "b"})
    r4.start("work")
    features["check-updates"] = value
    one = exported(r4)
    state = "on" if value else "off"
    assert left_of(one) == {
        "features:check-updates": "it also sets services:qubes-update-check: a push would change it"
        f" from default to {state}"
    }
    assert one.values == {("features", "x-own"): "a", ("vm_config", "a"): "b"}


def test_an_address_beside_the_one_that_the_vm_is_shown_is_left_out_alone(r4: QubesR4) -> None:
    work = r4.qubesd.qubes["work"]
    work.properties.update({"ip": "10.137.0.90", "netvm": "sys-net"})
    work.features.update({"net.fake-ip": "10.9.9.9", "x-own": "a"})
    r4.start("work")
    one = exported(r4)
    assert "the VM sees 10.9.9.9, because of its feature net.fake-ip" in left_of(one)["network:ip"]
    assert one.values == {("netvm",): "sys-net", ("features", "x-own"): "a"}


def test_a_word_of_the_pillar_costs_no_other_key_of_its_mapping(r4: QubesR4) -> None:
    r4.qubesd.qubes["work"].features.update({"vm-config.z": "default", "vm-config.foo": "b"})
    r4.start("work")
    one = exported(r4)
    assert left_of(one) == {"vm_config:z": "'default' is a keyword of the pillar (a pillar cannot express this text)"}
    assert one.values == {("vm_config", "foo"): "b"}


def test_a_service_that_brings_a_feature_with_it_costs_no_other_feature(r4: QubesR4) -> None:
    r4.qubesd.qubes["work"].features.update({"service.qubes-update-check": "1", "good": "a", "other": "b"})
    r4.start("work")
    one = exported(r4)
    assert left_of(one) == {"services:qubes-update-check": "a push would change it from default to on"}
    assert one.values == {("features", "good"): "a", ("features", "other"): "b"}


def test_many_fields_at_fault_are_each_left_out_and_the_rest_stays(r4: QubesR4) -> None:
    features = r4.qubesd.qubes["work"].features
    features.update({f"vm-config.z{number}": "default" for number in range(30)})
    features.update({"net.fake-ip": "10.9.9.9", "good": "a", "vm-config.a": "b"})
    r4.qubesd.qubes["work"].properties.update({"ip": "10.137.0.90", "netvm": "sys-net", "label": "blue"})
    r4.start("work")
    features["check-updates"] = ""
    one = exported(r4)
    assert one.values == {
        ("label",): "blue", ("netvm",): "sys-net", ("features", "good"): "a", ("vm_config", "a"): "b",
    }  # fmt: skip
    assert len(one.left_out) == 30 + len(("ip", "gateway", "netmask")) + len(("check-updates", "net.fake-ip"))


def test_a_search_has_an_end_and_keeps_what_it_has_found_to_be_well(
    r4: QubesR4, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle, "_SEARCHED", 1)
    work = r4.qubesd.qubes["work"]
    work.properties.update({"ip": "10.137.0.90", "netvm": "sys-net"})
    work.features.update({"net.fake-ip": "10.9.9.9", "x-own": "a"})
    r4.start("work")
    one = exported(r4)
    assert one.values == {("netvm",): "sys-net"}
    assert left_of(one)["features:x-own"] == "not examined, because 1 other values of the VM cannot be exported"


@pytest.fixture
def dom0(tmp_path: Path) -> Iterator[Dom0]:
    need(missing())
    with Dom0(tmp_path / "x") as host:
        host.start_vm("work")
        yield host


def test_a_network_that_the_agent_refused_is_left_out_alone(dom0: Dom0) -> None:
    home = f"/local/domain/{dom0.domids['work']}"
    with dom0.store() as store:
        for name, value in {
            "qubes-ip": "10.0.0.2", "qubes-gateway": "10.0.0.1", "qubes-netmask": "255.255.255.0",
            "qubes-primary-dns": "10.0.0.1", "qubes-secondary-dns": "", "qubes-service/cups": "1",
            "qubes-timezone": "UTC",
        }.items():  # fmt: skip
            store.write(f"{home}/{name}", value.encode())
        store.write(f"{home}/vminterface/ack", b"")
        store.set_permissions(f"{home}/vminterface", [f"n{dom0.domids['work']}"])
        store.set_permissions(f"{home}/vminterface/ack", [f"n{dom0.domids['work']}"])
    dom0.agent("work", lambda setting, inputs: "no such link" if setting == "network" else "")
    assert until(lambda: (dom0.read("work", "vminterface/ack/network") or "").startswith("refused"), 20)
    with dom0.targets() as targets:
        [one] = export(targets)
        assert one.error == ""
        settings = parse_pillar(pillaryaml.load("exported", render.as_yaml([one])))
        assert [(one.changes, one.error) for one in diff(settings, targets)] == [({}, None)]
    assert one.values == {("services", "cups"): True, ("timezone",): "UTC"}
    assert "refused network: no such link" in one.left_out["network", "ip"]


def test_names_that_are_no_text_are_comments_escaped(dom0: Dom0) -> None:
    for name in ("a\nqubes: {}", "", "\x1b[31m{{ x }}", "v\xe9"):
        dom0.start_vm(name)
    with dom0.targets() as targets:
        found = export(targets)
        assert [one.vm for one in export(targets, ["work"])] == ["work"]
    text = render.as_yaml(found)
    assert "    # a\\nqubes: {}: left out: 'a\\nqubes: {}' is not a valid VM name" in text
    assert "    # '': left out: '' is not a valid VM name" in text
    assert text.isascii()
    assert "\x1b" not in text
    assert "{{" not in text
    assert pillaryaml.load("exported", text) == {"qubes": {"vms": {"work": {}}}}
