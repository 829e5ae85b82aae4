"""What a run says of the VMs that it no longer asks qubesd about."""

from __future__ import annotations

import pytest

from vminterface.channel.adminapi import AdminAPI
from vminterface.dom0.inventory.qubesd import Qubesd
from vminterface.errors import ConnectionLost, DeadlineExceeded, VMInterfaceError


class Unreachable(Qubesd):
    """One whose socket does not let this user in, or that hangs."""

    def connect(self, timeout: float | None = None) -> AdminAPI:
        return None  # type: ignore[return-value]


@pytest.mark.parametrize(
    "first", [ConnectionLost("/run/qubesd.sock: Permission denied"), DeadlineExceeded("no reply within 10 s")]
)
def test_later_vms_are_not_told_of_another_reason_than_the_first_one(first: VMInterfaceError) -> None:
    """An ordinary user's call is refused: that no reply came would send the admin to look for a qubesd that hangs."""

    def ask(api: AdminAPI) -> None:
        raise first

    qubesd = Unreachable()
    with pytest.raises(type(first), match=str(first)):
        qubesd.call("work", "timezone", "feature x", ask)
    with pytest.raises(type(first)) as caught:
        qubesd.call("personal", "timezone", "feature x", ask)
    assert str(caught.value) == "personal: an earlier call of qubesd failed, so no other call is made"
