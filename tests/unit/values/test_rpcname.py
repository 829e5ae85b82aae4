"""Names in a service call: what qrexec takes unchanged."""

from __future__ import annotations

from typing import Any

import pytest

from vminterface.errors import InvalidValue
from vminterface.values import rpcname


@pytest.mark.parametrize("service", ["qubes.SetMonitorLayout", "admin.vm.feature.Set", "a", "_x-y", "s" * 255])
def test_a_service_has_letters_digits_and_a_few_signs(service: str) -> None:
    assert rpcname.parse_service(service) == service


@pytest.mark.parametrize(
    "service",
    ["", "+", "a+b", "+a", "a b", "a/b", "../a", ".a", "-a", "a\n", "a\0", "é", "s" * 256, "a@b", "a:b", "$a"],
)
def test_every_other_service_is_refused(service: str) -> None:
    with pytest.raises(InvalidValue, match="expected"):
        rpcname.parse_service(service)


def test_an_argument_follows_a_plus_and_may_have_more_of_them() -> None:
    assert rpcname.descriptor("qubes.VMExec", "ls+--a+-2Fhome-2Fuser") == "qubes.VMExec+ls+--a+-2Fhome-2Fuser"
    assert rpcname.descriptor("qubes.GetDate", "nanoseconds") == "qubes.GetDate+nanoseconds"


def test_without_an_argument_there_is_no_plus() -> None:
    assert rpcname.descriptor("qubes.SuspendPre") == "qubes.SuspendPre"


@pytest.mark.parametrize("argument", ["a b", "a/b", "a\n", "a\0b", "ż", "a:b", "@", "$(x)", "a" * 65001])
def test_every_other_argument_is_refused(argument: str) -> None:
    with pytest.raises(InvalidValue, match="expected"):
        rpcname.descriptor("qubes.VMExec", argument)


def test_service_and_argument_together_have_a_limit() -> None:
    assert len(rpcname.descriptor("s" * 255, "a" * 64744)) == 65000
    with pytest.raises(InvalidValue, match="65001 bytes"):
        rpcname.descriptor("s" * 255, "a" * 64745)


@pytest.mark.parametrize("target", ["work", "sys-net", "dom0", "a" * 31, "win7-dm", "A.b_c"])
def test_a_vm_can_be_called(target: str) -> None:
    assert rpcname.parse_target(target) == rpcname.parse_target(target, keywords=True) == target


@pytest.mark.parametrize("target", ["@default", "@adminvm", "@dispvm", "@dispvm:default-dvm"])
def test_keywords_are_for_the_policy_only(target: str) -> None:
    assert rpcname.parse_target(target, keywords=True) == target
    with pytest.raises(InvalidValue, match="expected"):
        rpcname.parse_target(target)


@pytest.mark.parametrize(
    "target", ["", "-d", "1a", "a b", "a\n", "a" * 32, "@", "@anyvm", "@dispvm:", "@dispvm:1", "$dispvm"]
)
def test_every_other_target_is_refused(target: str) -> None:
    with pytest.raises(InvalidValue, match="expected"):
        rpcname.parse_target(target, keywords=True)


@pytest.mark.parametrize("other", [5, True, 1.5, None, b"work", ["work"], {"work": 1}, [16**5000]])
def test_what_is_no_text_is_no_name(other: Any) -> None:
    for parse in (rpcname.parse_service, rpcname.parse_argument, rpcname.parse_target, rpcname.descriptor):
        with pytest.raises(InvalidValue, match=r"is not text \(expected text: quote it"):
            parse(other)
    with pytest.raises(InvalidValue, match="is not text"):
        rpcname.descriptor("qubes.GetDate", other)
    with pytest.raises(InvalidValue, match="is not text"):
        rpcname.parse_target(other, keywords=True)


def test_keywords_are_named_where_they_may_be_meant() -> None:
    with pytest.raises(InvalidValue, match=r"a letter first\)"):
        rpcname.parse_target("a b")
    with pytest.raises(InvalidValue, match=r"a letter first, or @default, .*@dispvm:VM\)"):
        rpcname.parse_target("a b", keywords=True)


def test_an_argument_alone_may_be_as_long_as_all_of_a_call() -> None:
    assert rpcname.parse_argument("") == ""
    assert rpcname.parse_argument("a" * 65000) == "a" * 65000
    with pytest.raises(InvalidValue, match="expected at most 65000"):
        rpcname.parse_argument("a" * 65001)
