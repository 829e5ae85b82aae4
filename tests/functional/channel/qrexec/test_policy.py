"""Whether dom0's policy would allow a call: asked of its daemon, with a deadline, a bound and a form."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.policydaemon import PolicyDaemon, denying
from vminterface.channel.qrexec import policy
from vminterface.errors import ConnectionLost, DeadlineExceeded, InvalidValue, RemoteProtocolError


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(policy.SOCKET_VARIABLE, str(tmp_path / "policy.sock"))
    return tmp_path / "policy.sock"


def test_the_daemons_word_is_the_answer(path: Path) -> None:
    with PolicyDaemon(path, denying("anon")) as daemon:
        assert policy.allows("work", "@default", "qubes.GetDate", "nanoseconds") is True
        assert policy.allows("anon", "@default", "qubes.GetDate", "nanoseconds") is False
    assert daemon.asked[0] == {
        "source": "work",
        "intended_target": "@default",
        "service_and_arg": "qubes.GetDate+nanoseconds",
        "just_evaluate": "yes",
    }


def test_without_a_daemon_there_is_no_answer(path: Path) -> None:
    assert policy.allows("work", "@default", "qubes.GetDate") is None


def test_a_daemon_that_is_gone_is_a_fault(path: Path) -> None:
    with PolicyDaemon(path, denying()):
        pass
    with pytest.raises(ConnectionLost, match=r"policy\.sock: Connection refused"):
        policy.allows("work", "@default", "qubes.GetDate")


@pytest.mark.parametrize("reply", [b"", b"result=maybe\n", b"\xff\x1b[2J", b"allow", b"xresult=allow"])
def test_what_is_no_answer_is_none(path: Path, reply: bytes) -> None:
    with PolicyDaemon(path, lambda asked: reply), pytest.raises(RemoteProtocolError) as caught:
        policy.allows("work", "@default", "qubes.GetDate")
    assert "qubes.GetDate of work" in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_reply_without_end_is_given_up(path: Path) -> None:
    with PolicyDaemon(path, lambda asked: bytes(1 << 20)), pytest.raises(RemoteProtocolError, match="more than 4096"):
        policy.allows("work", "@default", "qubes.GetDate")


def test_a_daemon_that_says_nothing_costs_its_time(path: Path) -> None:
    def late(asked: dict[str, str]) -> bytes:
        time.sleep(0.4)
        return b""

    with (
        PolicyDaemon(path, late),
        pytest.raises(DeadlineExceeded, match=r"no reply within 0\.2 s"),
    ):
        policy.allows("work", "@default", "qubes.GetDate", timeout=0.2)


@pytest.mark.parametrize(
    "words", [("a\nb", "@default", "x"), ("a", "b c", "x"), ("a", "b", "x\n"), ("a", "b", "x", "=\n")]
)
def test_names_that_would_be_other_lines_are_refused(path: Path, words: tuple[str, ...]) -> None:
    with PolicyDaemon(path, denying()) as daemon, pytest.raises(InvalidValue):
        policy.allows(*words)
    assert daemon.asked == []
