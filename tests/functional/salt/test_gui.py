"""The greeting of a VM's GUI agent by Salt: plain data out, one sentence for what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.guiagent import Agent
from tests.support.stores import need
from vminterface.wire.gui import CURRENT, Version, XConf

MONITORS = [{"width": 1920, "height": 1080, "x": 0, "y": 0}, {"width": 1280, "height": 800, "x": 1920, "y": 280}]


@pytest.fixture
def agent(tmp_path: Any, monkeypatch: Any) -> Iterator[Any]:
    need(missing())
    with Dom0(tmp_path / "xen") as host:
        host.start_vm("work")
        monkeypatch.setenv("XENSTORED_PATH", host.path)
        monkeypatch.setenv("VCHAN_SOCKET_DIR", str(tmp_path))
        yield Agent(tmp_path / f"vchan.{host.domids['work']}.0.6000.sock")


def test_an_agent_is_greeted_with_the_screen_of_monitors(agent: Any, modules: Any) -> None:
    told = {"version": "1.8", "width": 3200, "height": 1080, "depth": 24}
    assert modules.qubes_tools.gui_greet("work", MONITORS) == told
    assert agent.told() == CURRENT.render() + XConf.of_screen(3200, 1080).render()


def test_an_agent_of_another_version_is_an_error(agent: Any, modules: Any) -> None:
    agent.version = Version(0, 9)
    with pytest.raises(CommandExecutionError, match=r"^work: GUI protocol 0\.9 \(expected 1\.x, up to 1\.8\)$"):
        modules.qubes_tools.gui_greet("work", screen="800x600")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"vm": 7}, "vm: .* is not (?:valid|text) .expected text"),
        ({"monitors": MONITORS, "screen": "8x8"}, r"cannot be given together with monitors \(expected one of them\)"),
        ({"screen": 1920}, "screen: .* is not (?:valid|text) .expected text"),
        ({"screen": "8x8", "keyboard": ["pl"]}, "keyboard: .* is not (?:valid|text) .expected text"),
        ({"screen": "8x8", "socket": 5}, "socket: .* is not (?:valid|text) .expected text"),
        ({"screen": "8x8", "timeout": "long"}, "timeout: 'long' is not valid .expected seconds"),
        ({"monitors": "none"}, "monitors"),
    ],
)
def test_a_wrong_argument_is_named(modules: Any, arguments: Any, said: Any) -> None:
    with pytest.raises(SaltInvocationError, match=said):
        modules.qubes_tools.gui_greet(**{"vm": "work", **arguments})
