"""Who makes a push is named, Salt's job too; values of a command line are not."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

import pytest

from vminterface.dom0.history import author


class Salt3006:
    """Salt's module of that release: what it keeps is an attribute of a class."""

    class RequestContext:
        current: ClassVar[dict[str, Any]] = {"data": {"jid": "20261130010203040506", "user": "sudo_alice"}}


class Salt3007:
    """And of later ones."""

    @staticmethod
    def get_request_context() -> dict[str, Any]:
        return {"data": {"jid": "20261130010203040506", "user": "sudo_alice"}}


@pytest.mark.parametrize("context", [Salt3006, Salt3007])
def test_the_salt_job_and_who_published_it_are_named(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "salt.utils.ctx", context)
    found = author.author()
    assert (found["job"], found["job_user"]) == ("20261130010203040506", "sudo_alice")


def test_who_called_sudo_is_named_beside_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "alice\x1b")
    found = author.author()
    assert found["sudo"] == "alice\\x1b"
    assert found["user"]
    assert "job" not in found


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["/usr/bin/vminterface", "set", "work", "vm_config:token=secret"], "vminterface set"),
        (["/srv/salt/_utils/vminterface/__main__.py", "push", "--pillar", "x"], "vminterface push"),
        (
            ["/usr/bin/salt-call", "-l", "debug", "qubes_vm.set", "work", "vm_config={token: x}"],
            "salt-call qubes_vm.set",
        ),
        (["/usr/bin/salt-minion"], "salt-minion"),
        ([""], "python"),
    ],
)
def test_of_the_command_line_only_what_is_done_is_kept(
    words: list[str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", words)
    assert author.program() == named
