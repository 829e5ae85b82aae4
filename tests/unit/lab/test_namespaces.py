"""Why VMs have no network here is said with the package that would help."""

import pytest

from lab import namespaces
from lab.namespaces import Isolation


@pytest.mark.parametrize(
    ("ip", "reason"),
    [
        (None, "the program ip is missing (Debian package iproute2)"),
        ("/usr/sbin/ip", "this machine lets nobody make veth links"),
    ],
)
def test_the_reason_is_the_program_that_is_missing_or_the_machine(monkeypatch, ip, reason):
    monkeypatch.setattr(namespaces.shutil, "which", lambda *_, **__: ip)
    assert Isolation(user=False, vms=True, network=False).describe().partition("but no network: ")[2].startswith(reason)
