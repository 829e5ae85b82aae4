"""A location that a VM gives away by an id: for as long as dom0 says, and by no other name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.rpcstandin import StandIn
from vminterface.channel.qrexec.client import Qrexec
from vminterface.dom0.services import backup, backuplocation
from vminterface.errors import InvalidValue, RemoteProtocolError, VMInterfaceError, VMNotRunning


@pytest.mark.parametrize("reply", ["", "\\n", "a b\\n", "../x\\n", "\\033[2J\\n", "x" * 65 + "\\n", "\\377\\n"])
def test_what_is_no_id_is_not_used(vms: StandIn, qrexec: Qrexec, reply: str) -> None:
    vms.handler("bad", backuplocation.SERVICE, f"read -r line; printf '{reply}'; exec >&-; cat >/dev/null")
    used: list[str] = []
    with pytest.raises(VMInterfaceError, match=r"qubes\.RegisterBackupLocation in bad: ") as caught:
        backuplocation.lend(qrexec, "bad", "/b", used.append)
    assert str(caught.value).isprintable()
    assert used == []


def test_an_id_that_breaks_off_is_not_used(vms: StandIn, qrexec: Qrexec) -> None:
    vms.handler("bad", backuplocation.SERVICE, "read -r line; printf 0123")
    with pytest.raises(RemoteProtocolError, match="the id is incomplete"):
        backuplocation.lend(qrexec, "bad", "/b", lambda _: pytest.fail("used"))


def test_an_id_that_comes_in_pieces_is_whole(vms: StandIn, qrexec: Qrexec) -> None:
    vms.handler("slow", backuplocation.SERVICE, "read -r l; printf 01; sleep 0.1; echo 23; exec >&-; cat >/dev/null")
    assert backuplocation.lend(qrexec, "slow", "/b", str) == "0123"


def test_the_location_is_known_as_long_as_it_is_used_and_no_longer(vms: StandIn, work: Path, qrexec: Qrexec) -> None:
    (work / "home/user/b").write_text("")
    folder = work / "run/user/1000/qubes-backup-location"
    assert backuplocation.lend(qrexec, "work", "/home/user/b", lambda id_: [*folder.iterdir()] == [folder / id_])
    assert [*folder.iterdir()] == []


def test_what_its_user_raises_is_told_and_ends_it(vms: StandIn, work: Path, qrexec: Qrexec) -> None:
    def fail(_: str) -> None:
        raise VMNotRunning("disposable is not running")

    with pytest.raises(VMNotRunning, match="disposable"):
        backuplocation.lend(qrexec, "work", "/home/user/b", fail)


def test_a_use_that_outlasts_the_calls_time_is_none_the_worse(
    vms: StandIn, work: Path, qrexec: Qrexec, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    def use(location: str) -> str:
        time.sleep(1.2)
        return "done"

    assert backuplocation.lend(qrexec, "work", "/b", use, timeout=1.0) == "done"


@pytest.mark.parametrize("location", ["", " ", "a\nb", "a\0b", "x" * 4097])
def test_a_location_of_no_line_is_refused_before_any_call(
    vms: StandIn, work: Path, qrexec: Qrexec, location: str
) -> None:
    with pytest.raises(InvalidValue, match="is not a valid place for a backup"):
        backuplocation.lend(qrexec, "work", location, str)
    assert vms.ran() == []


@pytest.mark.parametrize("identifier", ["", "a b", "../x", "x" * 65, "a+b", "\u0661"])
def test_an_id_of_another_form_is_refused_before_any_call(
    vms: StandIn, work: Path, qrexec: Qrexec, tmp_path: Path, identifier: str
) -> None:
    with pytest.raises(InvalidValue, match="not a valid id of a backup location"):
        backup.restore_by_id(qrexec, "work", identifier, tmp_path / "back")
    assert vms.ran() == []
