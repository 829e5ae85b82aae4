"""VMs that answer service calls by the real handlers, called by the real command line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rpcstandin import StandIn, has_zombie, until
from vminterface.channel.qrexec.client import Qrexec


@pytest.fixture
def vms(tmp_path: Path) -> Iterator[StandIn]:
    """The stand-in for qrexec; nothing that was started through it is left at the end."""
    stand_in = StandIn(tmp_path)
    yield stand_in
    # What was killed may be seen for a moment longer: its new parent, not this process, hears of its end.
    assert until(lambda: not stand_in.processes()), stand_in.processes()
    assert until(lambda: not has_zombie())


@pytest.fixture
def work(vms: StandIn) -> Path:
    """The root folder of the running VM called work."""
    return vms.machine("work")


@pytest.fixture
def qrexec(vms: StandIn) -> Qrexec:
    return Qrexec(vms.client)


@pytest.fixture
def notices(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The notices; Salt's own handlers, which keep all that they get until the process ends, do not get them."""
    logger = logging.getLogger("vminterface")
    monkeypatch.setattr(logger, "propagate", False)
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
