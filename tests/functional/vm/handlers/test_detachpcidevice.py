"""DetachPciDevice on a copy of what sysfs shows: one write into the driver's file, or a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.handlers import VM

SERVICE = "qubes.DetachPciDevice"
UNBIND = "sys/bus/pci/drivers/e1000e/unbind"


@pytest.fixture
def vm(tmp_path: Path) -> VM:
    """A VM with a device that a driver has, and one that none has."""
    one = VM(tmp_path / "vm")
    one.write(UNBIND)
    one.write("sys/devices/pci0000:00/0000:00:06.0/vendor", "0x8086\n")
    one.write("sys/devices/pci0000:00/0000:00:07.0/vendor", "0x8086\n")
    (one.root / "sys/devices/pci0000:00/0000:00:06.0/driver").symlink_to("../../../bus/pci/drivers/e1000e")
    devices = one.root / "sys/bus/pci/devices"
    devices.mkdir(parents=True)
    for name in ("0000:00:06.0", "0000:00:07.0"):
        (devices / name).symlink_to(f"../../../devices/pci0000:00/{name}")
    return one


@pytest.mark.parametrize("address", [b"00:06.0", b"00:06.0\n", b"0000:00:06.0"])
def test_the_driver_lets_go_of_the_device(vm: VM, address: bytes) -> None:
    reply = vm.call(SERVICE, address)
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    assert vm.read(UNBIND) == "0000:00:06.0"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (b"00:08.0", "this VM has no PCI device 0000:00:08.0"),
        (b"0001:00:06.0", "this VM has no PCI device 0001:00:06.0"),
        (b"00:07.0", "no driver of this VM uses the PCI device 0000:00:07.0"),
    ],
)
def test_what_cannot_be_detached_is_named(vm: VM, address: bytes, reason: str) -> None:
    before = vm.content()
    assert vm.call(SERVICE, address).refused(SERVICE) == reason
    assert vm.content() == before


def test_a_driver_that_does_not_let_go_is_a_fault(vm: VM) -> None:
    (vm.root / UNBIND).unlink()
    reason = vm.call(SERVICE, b"00:06.0").refused(SERVICE)
    assert reason == "/sys/bus/pci/devices/0000:00:06.0/driver/unbind: No such file or directory"
