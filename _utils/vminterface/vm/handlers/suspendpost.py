"""``qubes.SuspendPost``: switch on again, after dom0 has resumed this VM, what ``qubes.SuspendPre`` switched off.

No input, no output. Kernel modules are loaded again, PCI devices get their drivers back, their network interfaces go
up, NetworkManager wakes. Drivers need memory in large pieces, so some is made free first. A step that fails is reported
at the end, after the others, and is tried again the next time. After Qubes core-agent-linux's ``prepare-suspend``.
"""

from __future__ import annotations

from vminterface.vm.handlers.runtime import sleepnetwork
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.handlers.runtime.steps import Steps
from vminterface.vm.handlers.suspendpre import DEVICES, NETWORK, TIMEOUT
from vminterface.vm.machine import remembered

DRIVERS = "/sys/bus/pci/drivers"
#: Exists while dom0 has the service ``minimal-netvm`` switched on here.
MINIMAL_NETVM = "/run/qubes-service/minimal-netvm"
#: Bytes that are taken from other programs and given back, for what they do not use to go to the swap space.
PUSHED = 512 << 20
#: Seconds for that.
PUSH_TIMEOUT = 20.0
#: Seconds within which drivers make the interfaces of devices that they have just got back: firmware takes its time.
INTERFACE_TIMEOUT = 5.0


def handle(call: Call) -> None:
    """Do all of it. Raises InvalidValue for a call with an argument, VMInterfaceError with each step that failed."""
    call.refuse_argument()
    steps = Steps(call.machine, TIMEOUT)
    to_come = remembered.modules(call.machine).items() or remembered.devices(call.machine).items()
    if to_come:
        _make_room(steps)
        _load(steps)
        _bind(steps)
    _interfaces_up(steps, INTERFACE_TIMEOUT if to_come else 0.0)
    sleepnetwork.sleep(steps, False)
    steps.finish()


def _make_room(steps: Steps) -> None:
    if _free_swap(steps) >= PUSHED:
        # A help, not a need: its fault is none.
        steps.attempt(["sh", "-c", f"head -c {PUSHED} /dev/zero | tail -c {PUSHED} >/dev/null"], seconds=PUSH_TIMEOUT)
    if steps.machine.exists(MINIMAL_NETVM):
        steps.write("/proc/sys/vm/drop_caches", "3")
    steps.write("/proc/sys/vm/compact_memory", "1")


def _free_swap(steps: Steps) -> int:
    for line in (steps.machine.read_text("/proc/meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name == "SwapFree":
            return int(value.split()[0]) * 1024
    return 0


def _load(steps: Steps) -> None:
    unloaded = remembered.modules(steps.machine)
    for name in reversed(unloaded.items()):
        if steps.run(["modprobe", name]):
            unloaded.remove(name)


def _bind(steps: Steps) -> None:
    machine, unbound = steps.machine, remembered.devices(steps.machine)
    for item in unbound.items():
        address, _, driver = item.partition(" ")
        device = f"{DEVICES}/{address}"
        # It may be gone, and its driver may have taken it by itself.
        done = not machine.exists(device) or machine.exists(f"{device}/driver")
        if not done and machine.is_folder(f"{DRIVERS}/{driver}"):
            done = steps.write(f"{DRIVERS}/{driver}/bind", address)
        elif not done:
            done = steps.write("/sys/bus/pci/drivers_probe", address)
        if done:
            unbound.remove(item)


def _interfaces_up(steps: Steps, seconds: float) -> None:
    """Set the interfaces up that were set down, once they are there; those that have not come within *seconds* stay."""
    machine, down = steps.machine, remembered.interfaces(steps.machine)
    names = down.items()
    # NetworkManager does that itself.
    if machine.exists(sleepnetwork.FLAG):
        for name in names:
            down.remove(name)
        return
    steps.wait(lambda: all(machine.exists(f"{NETWORK}/{name}") for name in names), seconds)
    for name in names:
        if machine.exists(f"{NETWORK}/{name}") and steps.run(["ip", "link", "set", "dev", name, "up"]):
            down.remove(name)
