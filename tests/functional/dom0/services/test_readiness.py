"""Waits for a VM: what a stock handler says is told from a failure."""

from __future__ import annotations

from typing import Any

import pytest

from vminterface.dom0.services import readiness
from vminterface.errors import ServiceFailed


def test_a_degraded_system_of_the_stock_handler_is_told_from_one_that_stops(vms: Any, qrexec: Any) -> None:
    vms.handler("stock", readiness.SYSTEM, "echo degraded >&2; echo '* one.service loaded failed failed' >&2; exit 1")
    assert readiness.wait_for_system(qrexec, "stock") is False
    vms.handler("stock", readiness.SYSTEM, "echo stopping >&2; exit 1")
    with pytest.raises(ServiceFailed, match="exit status 1: stopping"):
        readiness.wait_for_system(qrexec, "stock")


def test_an_uplink_that_is_not_up_in_time_is_told_from_a_failure(vms: Any, qrexec: Any) -> None:
    vms.handler("stock", readiness.UPLINK, '[ "$QREXEC_USER" = root ] && exit 3; exit 7')
    assert readiness.wait_for_uplink(qrexec, "stock") is False
    vms.handler("stock", readiness.UPLINK, "exit 4")
    with pytest.raises(ServiceFailed, match="exit status 4"):
        readiness.wait_for_uplink(qrexec, "stock")
