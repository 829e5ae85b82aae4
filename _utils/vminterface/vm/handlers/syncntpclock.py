"""``qubes.SyncNtpClock``: set this VM's clock by the network now, with the time service that is in work here.

No input. Output: one line that names what set the clock. Exit status 1 where nothing can: dom0 then keeps from taking
its own time from here. After Qubes core-agent-linux's ``sync-ntp-clock`` (R2, R3), which knew only ``ntpdate``.
"""

from __future__ import annotations

import time

from vminterface.deadline import Deadline
from vminterface.errors import ProgramMissing, VMInterfaceError
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.machine.machine import Machine
from vminterface.vm.machine.programs import Programs

#: Seconds for all of it, most of them for a time service to ask its servers: dom0 waits 60.
TIMEOUT = 50.0
#: Seconds to find out whether one is in work.
QUESTION = 5.0
#: systemd-timesyncd makes it anew each time that it has set the clock (systemd-time-wait-sync.service(8)).
SYNCHRONIZED = "/run/systemd/timesync/synchronized"
#: Whom ntpdate asks, which reads no configuration.
SERVERS = "pool.ntp.org"
PAUSE = 0.2

_TIMESYNCD = "systemd-timesyncd.service"


def handle(call: Call) -> None:
    """Set the clock. Raises ProgramMissing, ProgramFailed, DeadlineExceeded."""
    call.refuse_argument()
    machine, deadline = call.machine, call.within(TIMEOUT)
    if _works(machine, ["chronyc", "-n", "tracking"]):
        name = _chrony(machine)
    elif _works(machine, ["systemctl", "is-active", "--quiet", _TIMESYNCD]):
        name = _timesyncd(machine, deadline)
    elif machine.which("ntpdate"):
        machine.run(["ntpdate", "-u", SERVERS], timeout=TIMEOUT)
        name = "ntpdate"
    elif machine.which("ntpd"):
        machine.run(["ntpd", "-gq"], timeout=TIMEOUT)
        name = "ntpd"
    else:
        raise ProgramMissing("no time service is running (expected chrony, systemd-timesyncd, ntpdate or ntpd)")
    call.write(f"the clock was set by {name}\n".encode("ascii"))


def _works(machine: Programs, question: list[str]) -> bool:
    try:
        machine.run(question, timeout=QUESTION)
    except VMInterfaceError:
        return False
    return True


def _chrony(machine: Programs) -> str:
    for argv in (
        ["chronyc", "burst", "4/4"],
        # 30 tries, any correction, any skew, a second between them: until a server has answered.
        ["chronyc", "waitsync", "30", "0", "0", "1"],
        ["chronyc", "makestep"],
        # Until less than a tenth of a second is left to correct.
        ["chronyc", "waitsync", "10", "0.1", "0", "1"],
    ):
        machine.run(argv, timeout=TIMEOUT)
    return "chrony"


def _timesyncd(machine: Machine, deadline: Deadline) -> str:
    machine.remove(SYNCHRONIZED)
    machine.run(["systemctl", "restart", _TIMESYNCD], timeout=TIMEOUT)
    while not machine.exists(SYNCHRONIZED):
        deadline.check("systemd-timesyncd")
        time.sleep(PAUSE)
    return "systemd-timesyncd"
