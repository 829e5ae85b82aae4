"""Features and properties of VMs through qubesd's protocol; one that misbehaves costs a deadline, no more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.qubesd import Qube, Qubesd, Refused
from lab.qubesd.server import THREADS
from tests.support import seeds
from tests.support.stopwatch import Stopwatch
from vminterface.channel import adminapi
from vminterface.channel.adminapi import AdminAPI, Domain, Property
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidValue,
    KeyNotFound,
    LocalProtocolError,
    OutputTooLarge,
    PermissionDenied,
    ProgramMissing,
    RemoteProtocolError,
    StoreError,
    VMInterfaceError,
    VMNotFound,
)


@pytest.fixture
def api(qubesd: Qubesd) -> AdminAPI:
    return AdminAPI.open(timeout=5)


def test_every_vm_but_dom0_is_listed_with_its_class_and_state(qubesd: Qubesd, api: AdminAPI) -> None:
    qubesd.start_vm("sys-net")
    assert api.domains() == {
        "sys-net": Domain("sys-net", "AppVM", "Running"),
        "work": Domain("work", "AppVM", "Halted"),
    }
    assert [one.running for one in api.domains().values()] == [True, False]


def test_a_feature_is_on_off_or_not_set(qubesd: Qubesd, api: AdminAPI) -> None:
    assert api.feature("work", "service.cups") is None
    for value in ("1", "", None):
        api.set_feature("work", "service.cups", value)
        assert api.feature("work", "service.cups") == value
    assert qubesd.qubes["work"].features == {}


def test_a_feature_of_the_template_counts_where_the_vm_has_none(qubesd: Qubesd, api: AdminAPI) -> None:
    assert api.feature_with_template("work", "anon-timezone") is None
    qubesd.qubes["whonix"] = Qube("TemplateVM", features={"anon-timezone": "1"})
    qubesd.qubes["work"].properties["template"] = "whonix"
    assert api.feature_with_template("work", "anon-timezone") == "1"
    qubesd.qubes["work"].features["anon-timezone"] = ""
    assert api.feature_with_template("work", "anon-timezone") == ""
    with pytest.raises(VMNotFound, match="feature anon-timezone of nosuch"):
        api.feature_with_template("nosuch", "anon-timezone")


def test_a_feature_that_is_not_there_may_be_removed(api: AdminAPI) -> None:
    api.set_feature("work", "service.cups", None)


def test_features_are_listed(qubesd: Qubesd, api: AdminAPI) -> None:
    qubesd.qubes["work"].features.update({"gui": "1", "service.cups": ""})
    assert api.features("work") == ["gui", "service.cups"]


def test_a_property_is_set_and_goes_back_to_its_default(api: AdminAPI) -> None:
    assert api.property("work", "netvm") == Property("sys-net", True)
    api.set_property("work", "netvm", "")
    assert api.property("work", "netvm") == Property("", False)
    api.set_property("work", "netvm", None)
    assert api.property("work", "netvm") == Property("sys-net", True)
    api.set_property("work", "debug", "True")
    assert api.property("work", "debug") == Property("True", False)


def test_the_default_of_a_property_is_what_a_reset_gives_whatever_is_set(qubesd: Qubesd, api: AdminAPI) -> None:
    api.set_property("work", "keyboard_layout", "pl++")
    assert api.property_default("work", "keyboard_layout") == "us++"
    assert api.property_default("work", "netvm") == "sys-net"
    # No default at all.
    assert api.property_default("work", "label") == ""
    for reply in (b"0\0colour", b"0\0\xff"):
        qubesd.instead = reply
        with pytest.raises(RemoteProtocolError):
            api.property_default("work", "ip")


def test_the_firewall_that_qubesd_keeps_is_read_and_replaced_by_one_call_each(qubesd: Qubesd, api: AdminAPI) -> None:
    assert api.firewall_get("work") == b"action=accept\n"
    api.firewall_set("work", b"action=accept dst4=10.0.0.1\naction=accept proto=tcp dstports=80")
    assert api.firewall_get("work") == b"action=accept dst4=10.0.0.1/32\naction=accept proto=tcp dstports=80-80\n"
    api.firewall_set("work", b"")
    assert api.firewall_get("work") == b""
    assert [method for method, _, vm in qubesd.calls if vm == "work"] == [
        f"admin.vm.firewall.{verb}" for verb in ("Get", "Set", "Get", "Set", "Get")
    ]
    with pytest.raises(PermissionDenied, match=r"admin\.vm\.firewall\.Set of work"):
        api.firewall_set("work", b"policy=drop")
    with pytest.raises(VMNotFound):
        api.firewall_get("nosuch")


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda api: api.feature("nosuch", "x"), VMNotFound, "nosuch"),
        (lambda api: api.set_feature("nosuch", "x", "1"), VMNotFound, "nosuch"),
        (lambda api: api.set_feature("nosuch", "x", None), VMNotFound, "nosuch"),
        (lambda api: api.property("nosuch", "ip"), VMNotFound, "nosuch"),
        (lambda api: api.set_property("work", "netvm", "nosuch"), InvalidValue, "netvm of work"),
        (lambda api: api.property("work", "colour"), KeyNotFound, "colour"),
        (lambda api: api.property_default("work", "colour"), KeyNotFound, "colour"),
        (lambda api: api.set_property("work", "keyboard_layout", "fr"), InvalidValue, "keyboard_layout of work"),
        (lambda api: api.feature("work", "a b"), LocalProtocolError, "a b"),
        (lambda api: api.feature("work dom0", "a"), LocalProtocolError, "work dom0"),
        (lambda api: api.set_feature("work", "a", "x" * 70000), LocalProtocolError, "65536"),
    ],
)
def test_what_cannot_be_done_has_an_error_of_its_own(
    api: AdminAPI, call: Callable[..., Any], error: type[Any], said: str
) -> None:
    with pytest.raises(error) as told:
        call(api)
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def test_a_refusal_without_a_class_of_its_own_keeps_its_text(qubesd: Qubesd, api: AdminAPI) -> None:
    qubesd.refuse["admin.vm.feature.Set", "a"] = Refused("QubesVMInUseError", "the VM %s is in use", "work")
    with pytest.raises(StoreError, match="feature a of work: the VM work is in use"):
        api.set_feature("work", "a", "1")


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"", PermissionDenied),
        (b"0", ConnectionLost),
        (b"9\0x", ConnectionLost),
        (b"2\0", RemoteProtocolError),
        (b"2\0QubesException\0\0%d and %s\0", RemoteProtocolError),
        (b"0\0work\n", RemoteProtocolError),
        (b"0\0\xff", RemoteProtocolError),
        (b"0\0" + b"x" * (1 << 21), OutputTooLarge),
    ],
)
def test_an_answer_that_breaks_the_protocol_is_told(
    qubesd: Qubesd, api: AdminAPI, reply: bytes, error: type[Any]
) -> None:
    qubesd.instead = reply
    with pytest.raises(error):
        api.domains()


@pytest.mark.fuzz
def test_any_answer_is_understood_or_refused(monkeypatch: pytest.MonkeyPatch, api: AdminAPI) -> None:
    rng = seeds.chance("replies of qubesd")
    runs = seeds.rounds(100_000)
    pieces = [
        b"0\0",
        b"2\0",
        b"work class=AppVM state=Running\n",
        b"default=True type=",
        b"str x",
        b"\0",
        b"%s",
        b"\xff",
    ]
    reply = b""
    monkeypatch.setattr(adminapi, "_exchange", lambda *_: reply)
    for _ in range(runs):
        reply = b"".join(rng.choices([*pieces, rng.randbytes(3)], k=rng.randrange(1, 6)))
        for call in (api.domains, lambda: api.property("work", "ip"), lambda: api.feature("work", "a")):
            try:
                call()
            except VMInterfaceError:
                continue


def test_one_that_hangs_costs_its_deadline_and_leaves_no_thread_behind(qubesd: Qubesd, api: AdminAPI) -> None:
    before = set(threading.enumerate())
    qubesd.hung.set()
    api.timeout = 0.3
    began = Stopwatch()
    with pytest.raises(DeadlineExceeded, match=r"no reply from qubesd within 0\.3 s"):
        api.domains()
    began.check(2, least=0.25)
    ours = [t for t in set(threading.enumerate()) - before if t.name != THREADS]
    assert ours == []


def test_without_a_daemon_it_says_where_it_looked(tmp_path: Path, qubesd: Qubesd, api: AdminAPI) -> None:
    qubesd.path.unlink()
    with pytest.raises(ConnectionLost, match=r"qubesd\.sock: "):
        api.domains()


def test_it_is_available_where_the_client_is_installed_and_qubesd_has_its_socket(
    qubesd: Qubesd, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert adminapi.available()
    qubesd.path.unlink()
    assert not adminapi.available()
    monkeypatch.setitem(__import__("sys").modules, "qubesadmin", None)
    assert not adminapi.available()


def test_without_the_client_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "qubesadmin", None)
    with pytest.raises(ProgramMissing, match="qubesadmin"):
        AdminAPI.open()
