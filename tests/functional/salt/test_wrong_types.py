"""Arguments of a wrong type, as a command line or YAML gives them: one sentence that names the argument."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from salt.exceptions import SaltInvocationError
from salt.loader.lazy import LazyLoader

from tests.support.dom0 import Dom0
from tests.support.masked import masked

OTHERS = [5, True, 1.5, ["work"], {"work": 1}, masked([["work"], {"a": ["work"]}]), masked({"a": [{"b": "work"}]})]

#: Functions by module, with a VM as their first argument and what they need beside it.
WITH_VM: dict[str, Mapping[str, tuple[str, ...]]] = {
    "qubes_vm": dict.fromkeys(("report", "memory", "block_devices", "usb_devices"), ())
    | dict.fromkeys(("diff", "drift", "push", "settings"), ()),
    "qrexec": {"call": ("qubes.GetDate",), "services": ()},
    "qubes_rpc": dict.fromkeys(("get_date", "get_monitors", "resize_disk", "wait_for_session"), ())
    | {"set_gui_mode": ("SEAMLESS",), "vm_exec": ("true",)},
    "qubes_tools": dict.fromkeys(("read_date", "wait_for_network", "grow_private", "show_updates"), ()),
}


@pytest.fixture(autouse=True)
def qrexec(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a program that makes calls; a wrong argument is told before it runs."""
    monkeypatch.setenv("VMINTERFACE_QREXEC", "/bin/false")


@pytest.mark.parametrize("other", OTHERS)
def test_a_vm_that_is_no_text_is_told(host: Dom0, modules: Any, other: Any) -> None:
    for module, functions in WITH_VM.items():
        for function, more in functions.items():
            with pytest.raises(SaltInvocationError, match=r"^vm: .* is not (?:valid|text) \(expected text") as told:
                getattr(getattr(modules, module), function)(other, *more)
            assert "\n" not in str(told.value), function
            assert "Masked" not in str(told.value), function
            assert ("work" in str(told.value)) is isinstance(other, list | dict), function


@pytest.mark.any_salt
@pytest.mark.parametrize("other", OTHERS)
def test_a_user_that_is_no_text_is_told(modules: Any, other: Any) -> None:
    with pytest.raises(SaltInvocationError, match=r"is not a user name \(expected text"):
        modules.qrexec.call("work", "qubes.GetDate", user=other)


@pytest.mark.any_salt
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("argument", ["clock_vm", "network_vm"])
def test_a_vm_of_the_clocks_that_is_no_text_is_told(
    host: Dom0, modules: Any, states: LazyLoader, argument: str, other: Any
) -> None:
    given = {"clock_vm": "work", argument: other}
    with pytest.raises(SaltInvocationError, match=rf"^{argument}: .* is not valid \(expected text"):
        modules.qubes_vm.sync_clocks(**given)
    for test in (True, False):
        ret = states.qubes_vm.clock_synced("clocks", **given, test=test)
        assert ret.result is False
        assert re.match(rf"{argument}: .* is not valid \(expected text", ret.comment)
        assert "\n" not in ret.comment
