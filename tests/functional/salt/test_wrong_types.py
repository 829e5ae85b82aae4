"""Arguments of a wrong type, as a command line or YAML gives them: one sentence that names the argument."""

import pytest
from salt.exceptions import SaltInvocationError

OTHERS = [5, True, 1.5, ["work"], {"work": 1}]

#: Functions by module, with a VM as their first argument and what they need beside it.
WITH_VM = {
    "qubes_vm": dict.fromkeys(("report", "memory", "block_devices", "usb_devices"), ())
    | dict.fromkeys(("diff", "drift", "push", "settings"), ()),
    "qrexec": {"call": ("qubes.GetDate",), "services": ()},
    "qubes_rpc": dict.fromkeys(("get_date", "get_monitor_layout", "resize_disk", "wait_for_session"), ())
    | {"set_gui_mode": ("SEAMLESS",), "vm_exec": ("true",)},
    "qubes_tools": dict.fromkeys(("read_date", "wait_for_network", "grow_private", "show_updates"), ()),
}


@pytest.fixture(autouse=True)
def qrexec(monkeypatch):
    """There is a program that makes calls; a wrong argument is told before it runs."""
    monkeypatch.setenv("VMINTERFACE_QREXEC", "/bin/false")


@pytest.mark.parametrize("other", OTHERS)
def test_a_vm_that_is_no_text_is_told(host, modules, other):
    for module, functions in WITH_VM.items():
        for function, more in functions.items():
            with pytest.raises(SaltInvocationError, match=r"^vm: expected text, found ") as told:
                getattr(getattr(modules, module), function)(other, *more)
            assert "\n" not in str(told.value), function


@pytest.mark.parametrize("other", OTHERS)
def test_a_user_that_is_no_text_is_told(modules, other):
    with pytest.raises(SaltInvocationError, match="expected a user's name, found "):
        modules.qrexec.call("work", "qubes.GetDate", user=other)


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("argument", ["clock_vm", "network_vm"])
def test_a_vm_of_the_clocks_that_is_no_text_is_told(host, modules, states, argument, other):
    given = {"clock_vm": "work", argument: other}
    with pytest.raises(SaltInvocationError, match=f"^{argument}: expected text, found "):
        modules.qubes_vm.sync_clocks(**given)
    for test in (True, False):
        ret = states.qubes_vm.clock_synced("clocks", **given, test=test)
        assert ret.result is False
        assert ret.comment.startswith(f"{argument}: expected text, found ")
        assert "\n" not in ret.comment
