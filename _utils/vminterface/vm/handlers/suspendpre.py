"""``qubes.SuspendPre``: switch off what would not survive a suspend, before dom0 suspends this VM.

No input, no output. NetworkManager goes to sleep; network interfaces of real devices go down; the drivers of PCI
devices let go of them; the kernel modules of the admin's lists are unloaded. What was switched off is remembered for
``qubes.SuspendPost``. A step that fails is reported at the end, after the others. After Qubes core-agent-linux's
``prepare-suspend``; the admin's programs belong to ``qubes.SuspendPreAll`` there and here.
"""

from __future__ import annotations

from vminterface.vm.handlers.runtime import sleepnetwork
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.handlers.runtime.steps import Steps
from vminterface.vm.machine import remembered
from vminterface.vm.machine.files import Files

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds for all steps: dom0 waits 60.
TIMEOUT = 50.0
MODULE_LISTS = ("/etc/qubes-suspend-module-blacklist", "/rw/config/suspend-module-blacklist")
#: On the kernel's command line: the VM is suspended to idle, where devices keep their drivers.
KEEP_DEVICES = "qubes_exp_pm_use_suspend=1"
NETWORK = "/sys/class/net"
DEVICES = "/sys/bus/pci/devices"

#: Subsystem vendors of devices that the emulator or Xen makes: they come back by themselves.
_EMULATED = frozenset({"0x1af4", "0x5853"})
_INTEL = "0x8086"
_DISPLAY_CLASS = "0x03"
_IFF_UP = 1
_MODULE_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def handle(call: Call) -> None:
    """Do all of it. Raises InvalidValue for a call with an argument, VMInterfaceError with each step that failed."""
    call.refuse_argument()
    steps = Steps(call.machine, TIMEOUT)
    sleepnetwork.sleep(steps, True)
    if KEEP_DEVICES not in (call.machine.read_text("/proc/cmdline") or "").split():
        _interfaces_down(steps)
        _unbind(steps)
        _unload(steps)
    steps.finish()


def _interfaces_down(steps: Steps) -> None:
    machine, down = steps.machine, remembered.interfaces(steps.machine)
    for name in machine.names(NETWORK):
        device = machine.link_target(f"{NETWORK}/{name}/device")
        # Xen's own, to this VM's clients and to its provider, are dom0's affair.
        if device is None or name.startswith("vif") or device.rpartition("/")[2].startswith("vif-"):
            continue
        if _is_up(machine, name):
            down.add(name)
            # A driver may be slow, and done with it after the program was given up.
            if (
                not steps.run(["ip", "link", "set", "dev", name, "down"])
                and not steps.given_up
                and _is_up(machine, name)
            ):
                down.remove(name)


def _unbind(steps: Steps) -> None:
    machine, unbound = steps.machine, remembered.devices(steps.machine)
    for address in machine.names(DEVICES):
        device = f"{DEVICES}/{address}"
        driver = (machine.link_target(f"{device}/driver") or "").rpartition("/")[2]
        if not driver or _attribute(machine, f"{device}/subsystem_vendor") in _EMULATED:
            continue
        graphics = _attribute(machine, f"{device}/class").startswith(_DISPLAY_CLASS)
        if graphics and _attribute(machine, f"{device}/vendor") == _INTEL:
            continue
        # Remembered first: should this be cut short, the device is restored all the same.
        unbound.add(f"{address} {driver}")
        # And not forgotten while the driver may be about to let go: one that has not is passed over after the suspend.
        if (
            not steps.write(f"{device}/driver/unbind", address)
            and not steps.given_up
            and machine.link_target(f"{device}/driver") is not None
        ):
            unbound.remove(f"{address} {driver}")


def _unload(steps: Steps) -> None:
    """Unload the modules of the lists, in their order; one that is in use, again once the others are gone."""
    machine, unloaded = steps.machine, remembered.modules(steps.machine)
    left = [name for name in dict.fromkeys(_listed(steps)) if _is_loaded(machine, name)]
    failures: dict[str, str] = {}
    while left:
        failures = {}
        for name in left:
            failure = steps.attempt(["modprobe", "-r", name])
            # It may have gone with another one that needed it.
            if failure and _is_loaded(machine, name):
                failures[name] = failure
            else:
                unloaded.add(name)
        if len(failures) == len(left):
            break
        left = list(failures)
    for name, failure in failures.items():
        steps.error(f"the kernel module {name} is still loaded: {failure}")


def _listed(steps: Steps) -> Iterator[str]:
    """Yield the modules of the admin's lists; what is no name of one is a fault."""
    for path in MODULE_LISTS:
        for line in (steps.machine.read_text(path) or "").splitlines():
            if "#" in line:
                continue
            names = line.split()
            if wrong := [one for one in names if not _MODULE_CHARACTERS.issuperset(one) or one.startswith("-")]:
                steps.error(f"{path}: '{wrong[0]}' is not a valid name of a kernel module")
                continue
            yield from names


def _is_loaded(machine: Files, name: str) -> bool:
    lines = (machine.read_text("/proc/modules") or "").splitlines()
    return name.replace("-", "_") in {line.partition(" ")[0] for line in lines}


def _is_up(machine: Files, name: str) -> bool:
    return bool(_number(machine, f"{NETWORK}/{name}/flags") & _IFF_UP)


def _attribute(machine: Files, path: str) -> str:
    return (machine.read_text(path) or "").strip()


def _number(machine: Files, path: str) -> int:
    try:
        return int(_attribute(machine, path), 0)
    except ValueError:
        return 0
