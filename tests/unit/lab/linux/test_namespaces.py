"""Why VMs have no network here is said with the package that would help."""

from __future__ import annotations

from typing import Any

import pytest

from lab.linux import namespaces, network
from lab.linux.namespaces import Isolation


@pytest.mark.parametrize(
    ("ip", "reason"),
    [
        (None, "the program ip is missing (Debian package iproute2)"),
        ("/usr/sbin/ip", "this machine lets nobody make veth links"),
    ],
)
def test_the_reason_is_the_program_that_is_missing_or_the_machine(
    monkeypatch: pytest.MonkeyPatch, ip: str | None, reason: str
) -> None:
    monkeypatch.setattr("lab.linux.namespaces.shutil.which", lambda *_, **__: ip)
    assert Isolation(user=False, vms=True, network=False).describe().partition("but no network: ")[2].startswith(reason)


def test_a_program_that_users_have_not_in_their_path_is_what_makes_the_links(monkeypatch: Any, tmp_path: Any) -> None:
    asked: list[list[str]] = []
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("lab.linux.namespaces.shutil.which", lambda _, path: f"{path.split(':')[-1]}/ip")

    def works(command: list[str]) -> bool:
        asked.append(command)
        return True

    def run(command: list[str], **_: Any) -> type[Done]:
        asked.append(command)
        return Done

    monkeypatch.setattr(namespaces, "_works", works)
    monkeypatch.setattr("lab.linux.network.subprocess.run", run)
    monkeypatch.delenv(namespaces.DENY, raising=False)
    assert Isolation.probe().network
    network.start(1)
    assert [command[command.index("/sbin/ip") + 1] for command in asked[1:]] == ["link", "link"]


class Done:
    returncode = 0
