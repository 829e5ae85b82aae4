"""What the lab's qrexec-client understands of its last word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.qrexec.command import BadCommand, Command, parse


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("root:QUBESRPC qubes.SuspendPre dom0", Command("root", "dom0", "qubes.SuspendPre")),
        ("DEFAULT:QUBESRPC qubes.S+a+b dom0", Command("DEFAULT", "dom0", "qubes.S+a+b")),
        ("user:nogui:QUBESRPC qubes.S+ dom0", Command("user", "dom0", "qubes.S+", nogui=True)),
        ("user:QUBESRPC qubes.S dom0 name work", Command("user", "dom0", "qubes.S")),
        ("user:ls -l", Command("user", shell="ls -l")),
    ],
)
def test_a_command_names_user_service_and_source(line: str, command: Command) -> None:
    assert parse(line) == command


def test_the_argument_is_what_stands_behind_the_first_plus() -> None:
    assert [Command("u", "s", d).argument for d in ("a", "a+", "a+b+c")] == [None, "", "b+c"]
    assert Command("u", "s", "a+b+c").service == "a"


@pytest.mark.parametrize(
    "line",
    ["", "QUBESRPC a dom0", ":QUBESRPC a dom0", "u:QUBESRPC a", "u:QUBESRPC  a dom0", "u:QUBESRPC a dom0 ",
     "u:QUBESRPC + dom0", "u:QUBESRPC a b c", f"u:QUBESRPC {'a' * 256} dom0", f"u:QUBESRPC a+{'b' * 65000} dom0",
     f"u:{'x' * 65536}"],
)  # fmt: skip
def test_what_is_none_is_refused(line: str) -> None:
    with pytest.raises(BadCommand):
        parse(line)


@given(st.text())
def test_any_text_is_a_command_or_refused(line: str) -> None:
    try:
        command = parse(line)
    except BadCommand:
        return
    assert command.user
    assert bool(command.shell) != bool(command.descriptor) or not command.descriptor
