"""The execution module about what a VM's user is to see: plain data out, one sentence for what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError


def test_a_few_words_are_enough(vms: Any, modules: Any) -> None:
    vms.handler("net", "qubes.WaitForRunningSystem", "exit 0")
    assert modules.qubes_session.wait_for_running_system("net") is True
    vms.handler("net", "qubes.WaitForNetworkUplink", "exit 3")
    assert modules.qubes_session.wait_for_network_uplink("net") is False
    vms.handler("net", "qubes.StartApp", '[ "$1" = org.example.App ]')
    assert modules.qubes_session.start_app("net", "org.example.App") is False
    vms.handler("net", "qubes.OpenURL", '[ "$(cat)" = http://www.example.org/ ]')
    assert modules.qubes_session.open_url("net", "http://www.example.org/", wait=True) is False
    vms.handler("net", "qubes.ShowInTerminal", "head -c 4; printf q")
    assert modules.qubes_session.show_in_terminal("net", "text") is True


def test_an_application_that_cannot_be_started_is_told(vms: Any, modules: Any) -> None:
    with pytest.raises(
        CommandExecutionError, match=r"StartApp in work: exit status 1: .*the application firefox does not exist"
    ):
        modules.qubes_session.start_app("work", "firefox")


@pytest.mark.any_salt
@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("start_app", ["work", "a b"]),
        ("start_app", ["work", 7]),
        ("start_app", ["work", "a", "maybe"]),
        ("open_url", ["work", "www.example.org"]),
        ("open_url", ["work", 7]),
        ("show_in_terminal", ["work", 7]),
        ("show_in_terminal", ["work", "x" * 2000000]),
        ("wait_for_running_system", [5]),
        ("wait_for_network_uplink", ["work", "5"]),
    ],
)
def test_what_is_wrong_is_refused_in_one_sentence_before_anything_runs(
    vms: Any, modules: Any, function: Any, arguments: Any
) -> None:
    with pytest.raises(SaltInvocationError) as caught:
        getattr(modules.qubes_session, function)(*arguments)
    assert "\n" not in str(caught.value)
    assert vms.ran() == []
