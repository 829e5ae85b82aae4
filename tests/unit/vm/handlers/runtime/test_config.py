"""The handlers' options: a few known names, and no other line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.handlers import VM
from vminterface.errors import InvalidValue
from vminterface.vm.handlers import installupdatesgui, setguimode, suspendpostall, suspendpre, suspendpreall
from vminterface.vm.handlers.desktop import desktopfile, opener, terminal
from vminterface.vm.handlers.files import location
from vminterface.vm.handlers.runtime import config
from vminterface.vm.handlers.runtime.config import OPEN_TIMEOUT, PATH, PRIVATE_DEVICE, SESSION_TIMEOUT, option
from vminterface.vm.machine.machine import Machine

PAGE = (Path(__file__).parents[5] / "docs/handlers.md").read_text()
FILES = (
    PATH,
    opener.COMMAND,
    terminal.COMMAND,
    installupdatesgui.COMMAND,
    desktopfile.DROPINS,
    location.COMMANDS_ALLOWED,
    setguimode.HOOKS,
    suspendpreall.FOLDER,
    suspendpostall.FOLDER,
    *suspendpre.MODULE_LISTS,
)


def read(tmp_path: Path, text: str | None, name: str = PRIVATE_DEVICE) -> str:
    vm = VM(tmp_path)
    if text is not None:
        vm.write(PATH, text)
    return option(Machine(str(tmp_path)), name, "default")


@pytest.mark.parametrize("text", [None, "", "\n\n", "# private-device = /dev/x\n", "session-timeout = 1"])
def test_what_is_not_said_is_the_default(tmp_path: Path, text: str | None) -> None:
    assert read(tmp_path, text) == "default"


def test_an_option_is_read_with_blanks_and_comments(tmp_path: Path) -> None:
    text = "# all of it\nsession-timeout=7\n  private-device =  /var/disk  # a file\n"
    assert read(tmp_path, text) == "/var/disk"
    assert read(tmp_path, text, SESSION_TIMEOUT) == "7"


@pytest.mark.parametrize("line", ["nonsense", "timeout = 3", "private-device", "private-device =", "= x", "\x1b[0m"])
def test_any_other_line_is_told_with_its_place(tmp_path: Path, line: str) -> None:
    with pytest.raises(InvalidValue, match=r"^/etc/vminterface/handlers\.conf:2: ") as caught:
        read(tmp_path, f"session-timeout = 1\n{line}\n")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", [*config._KNOWN, *FILES])
def test_the_documentation_tells_of_each_option_and_file(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_the_documentations_example_is_understood(tmp_path: Path) -> None:
    lines = re.search(r"contents: \|\n((?:  .*\n)+)", PAGE)
    assert lines is not None
    assert read(tmp_path, lines[1], SESSION_TIMEOUT) == "120"
    assert read(tmp_path, lines[1], OPEN_TIMEOUT) == "7200"
