"""``qubes.WaitForNetworkUplink``: answer when the VM's network interface, if dom0 has given it one, is in work.

No input, no output. qubesd waits for it, 10 s at most, when it has given a VM that was paused another netvm. After
Qubes core-agent-linux's handler, with its statuses: 0 also without such an interface, 3 where it is not up in
time. Where Qubes' own scripts configure the interface it is in work when they are done, where the agent of this library
does, when that has written down what it did.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress

from vminterface.errors import DeadlineExceeded, ProgramFailed, ServiceFailed, printable
from vminterface.vm.apply.network import STATE
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.machine.machine import Machine
from vminterface.vm.machine.session import read_key

#: Seconds: qubesd waits 10.
TIMEOUT = 8.0
NOT_UP = 3
INTERFACES = "/sys/class/net"
_PAUSE = 0.2
#: Stock's unit, and where it may be.
UNIT = "qubes-network-uplink@"
_UNITS = ("/usr/lib/systemd/system", "/lib/systemd/system", "/etc/systemd/system")


def handle(call: Call) -> None:
    """Wait for it. Raises InvalidValue (an argument), ServiceFailed (status NOT_UP)."""
    call.refuse_argument()
    machine, deadline = call.machine, call.within(TIMEOUT)
    interface = _interface(machine)
    if interface is None:
        return
    is_stock = any(machine.exists(f"{folder}/{UNIT}.service") for folder in _UNITS)
    why = "systemctl does not reply"
    while True:
        # What was missing last is the reason, too, where the time ends while systemctl is asked again.
        with suppress(DeadlineExceeded):
            why = _problem(machine, interface, is_stock)
        if not why:
            return
        if deadline.remaining <= _PAUSE:
            name = printable(interface, 20)
            raise ServiceFailed(f"{name} is not up within {TIMEOUT:g} s: {why}", NOT_UP)
        time.sleep(_PAUSE)


def _interface(machine: Machine) -> str | None:
    """Return the name of the interface that dom0 has given this VM, None if it has none."""
    mac = read_key(machine, "qubes-mac")
    if mac is None:
        # Without QubesDB's client (R2, plain Xen), the agent knows.
        return _configured(machine)
    for name in machine.names(INTERFACES):
        if (machine.read_text(f"{INTERFACES}/{name}/address") or "").strip().lower() == mac.strip().lower():
            return name
    return "eth0" if machine.exists(f"{INTERFACES}/eth0") else None


def _problem(machine: Machine, interface: str, is_stock: bool) -> str:
    """Return what is still missing, empty if nothing is."""
    state = (machine.read_text(f"{INTERFACES}/{interface}/operstate") or "absent").strip()
    if state != "up":
        return f"its state is '{printable(state, 20)}' (expected 'up')"
    if not is_stock:
        is_ours = machine.exists(STATE)
        return "the agent has not configured it yet" if is_ours and _configured(machine) != interface else ""
    try:
        machine.run(["systemctl", "is-active", "--quiet", f"{UNIT}{interface}.service"])
    except ProgramFailed:
        return f"{UNIT}{printable(interface, 20)}.service is not active"
    return ""


def _configured(machine: Machine) -> str | None:
    """Return the interface that the agent has configured, None if it has configured none."""
    try:
        return str(json.loads(machine.read_text(STATE) or "null")["interface"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
