"""A service that a VM's owner does not accept: dom0 hears that, with the reason, and never takes it for done."""

from __future__ import annotations

from pathlib import Path

import pytest

from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.dom0.services import commands
from vminterface.errors import CallRefused, ServiceNotFound

CONF = "/etc/vminterface/agent.conf"


def says(work: Path, text: str) -> None:
    (work / "etc/vminterface").mkdir(parents=True, exist_ok=True)
    (work / CONF.lstrip("/")).write_text(text)


def test_a_refused_service_is_refused_with_the_place_that_says_so(work: Path, qrexec: Qrexec) -> None:
    says(work, "# mine\nqubes.GetDate = refuse\n")
    with pytest.raises(CallRefused) as caught:
        qrexec.call(Call("work", "qubes.GetDate", stdout_limit=100))
    assert str(caught.value) == (
        "qubes.GetDate in work: the call was refused: qubes.GetDate: this VM does not accept it: "
        f"decided by its owner ({CONF}:2)"
    )


def test_an_ignored_service_is_one_that_is_not_there(work: Path, qrexec: Qrexec) -> None:
    says(work, "other-handlers = ignore\nqubes.VMShell = accept\n")
    with pytest.raises(ServiceNotFound) as caught:
        qrexec.call(Call("work", "qubes.GetDate", stdout_limit=100))
    assert str(caught.value) == (
        f"qubes.GetDate in work: there is no such service: qubes.GetDate: this VM ignores it: "
        f"decided by its owner ({CONF}:1)"
    )


def test_nothing_of_a_refused_service_is_done(work: Path, qrexec: Qrexec) -> None:
    says(work, "qubes.Filecopy = refuse\n")
    before = sorted(path for path in work.rglob("*") if "qubes-rpc" not in str(path))
    with pytest.raises(CallRefused):
        qrexec.call(Call("work", "qubes.Filecopy", stdin=b"x" * 100, stdout_limit=100))
    assert sorted(path for path in work.rglob("*") if "qubes-rpc" not in str(path)) == before


def test_a_command_that_is_refused_is_not_tried_another_way(work: Path, qrexec: Qrexec) -> None:
    says(work, "qubes.VMExec = refuse\n")
    with pytest.raises(CallRefused) as caught:
        commands.execute(qrexec, "work", ["true"])
    assert str(caught.value) == f"qubes.VMExec in work: this VM does not accept it: decided by its owner ({CONF}:1)"


def test_a_command_goes_by_the_shell_where_the_other_service_is_ignored(work: Path, qrexec: Qrexec) -> None:
    says(work, "qubes.VMExec = ignore\n")
    assert commands.execute(qrexec, "work", ["true"]).status == 0
    says(work, "other-handlers = ignore\n")
    with pytest.raises(ServiceNotFound, match="there is no such service"):
        commands.execute(qrexec, "work", ["true"])


def test_a_command_that_ends_with_such_a_status_by_itself_has_run(work: Path, qrexec: Qrexec) -> None:
    for status in (126, 127):
        output = commands.execute(qrexec, "work", ["sh", "-c", f"echo no >&2; exit {status}"])
        assert (output.status, output.stderr.strip()) == (status, "no")


def test_while_the_file_is_not_valid_no_service_is_answered(work: Path, qrexec: Qrexec) -> None:
    says(work, "qubes.GetDat = refuse\n")
    with pytest.raises(CallRefused) as caught:
        qrexec.call(Call("work", "qubes.WaitForSession", stdout_limit=100))
    assert f"{CONF}:1: 'qubes.GetDat' is not a setting or a service (did you mean 'qubes.GetDate'?)" in str(
        caught.value
    )
