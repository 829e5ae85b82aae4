"""VMs that answer service calls by the real handlers, called by the real command line."""

import pytest

from tests.support.rpcstandin import StandIn, child_states, until
from vminterface.channel.qrexec import Qrexec


@pytest.fixture
def vms(tmp_path):
    """The stand-in for qrexec; nothing that was started through it is left at the end."""
    stand_in = StandIn(tmp_path)
    yield stand_in
    # What was killed may be seen for a moment longer: its new parent, not this process, hears of its end.
    until(lambda: not stand_in.processes())
    assert stand_in.processes() == []
    assert "Z" not in child_states()


@pytest.fixture
def work(vms):
    """The root folder of the running VM called work."""
    return vms.machine("work")


@pytest.fixture
def qrexec(vms):
    return Qrexec(vms.client)
