"""A folder that stands for a machine, with as much of sysfs and of udev's database as the reports read."""

from __future__ import annotations

from pathlib import Path

from vminterface.vm.machine.machine import Machine

DISKS = "devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block"
STICK = "devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block"
HUBS = "devices/pci0000:00/0000:00:14.0"


class FakeSysfs:
    """Files below *root*; ``machine`` reads them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.machine = Machine(str(root))
        self.write("proc/self/mountinfo", "")
        self.write("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n")

    def write(self, path: str, text: str) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def write_bytes(self, path: str, data: bytes) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)

    def block(
        self,
        name: str,
        number: str,
        *,
        folder: str = DISKS,
        sectors: int = 2048,
        read_only: bool = False,
        files: dict[str, str] | None = None,
        udev: dict[str, str] | None = None,
    ) -> None:
        """Add a block device; one with the name of another and a number is that one's partition."""
        home = f"sys/{folder}/{name}"
        for file, text in {
            "dev": number,
            "size": str(sectors),
            "ro": str(int(read_only)),
            **(files or {}),
        }.items():
            self.write(f"{home}/{file}", f"{text}\n")
        (self.root / home / "holders").mkdir(exist_ok=True)
        self.link(f"sys/class/block/{name}", f"../../{folder}/{name}")
        self.write(f"dev/{name}", "")
        if udev is not None:
            self.udev(f"b{number}", udev)

    def partition(self, name: str, number: str, disk: str, folder: str = DISKS, **more: object) -> None:
        self.block(name, number, folder=f"{folder}/{disk}", files={"partition": "1"}, **more)  # type: ignore[arg-type]

    def usb(self, name: str, *, folder: str = f"{HUBS}/usb2", udev: dict[str, str] | None = None, **files: str) -> None:
        """Add a USB device; *files* are its attributes."""
        attributes = {
            "idVendor": "046d",
            "idProduct": "c52b",
            "bDeviceClass": "00",
            "version": " 2.00",
            "dev": "189:3",
            "manufacturer": "Logitech",
            "product": "USB Receiver",
            **files,
        }
        for file, text in attributes.items():
            self.write(f"sys/{folder}/{name}/{file}", f"{text}\n")
        self.link(f"sys/bus/usb/devices/{name}", f"../../../{folder}/{name}")
        if udev is not None:
            self.udev(f"c{attributes['dev']}", udev)

    def dmsetup(self, open_count: int) -> Path:
        """Add a program dmsetup that counts *open_count* users of any device, and return the folder that has it."""
        program = self.root / "bin/dmsetup"
        self.write("bin/dmsetup", f"#!/bin/sh\necho '{open_count}'\n")
        program.chmod(0o755)
        return program.parent

    def udev(self, identifier: str, properties: dict[str, str]) -> None:
        lines = ["I:12345", *(f"E:{name}={value}" for name, value in properties.items()), "G:seat"]
        self.write(f"run/udev/data/{identifier}", "\n".join(lines) + "\n")

    def link(self, path: str, target: str) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)

    def remove(self, path: str) -> None:
        (self.root / path).unlink()

    def mounted(self, *lines: str) -> None:
        """Each line: ``8:1 /mnt ext4 /dev/sda1``."""
        text = ""
        for line in lines:
            number, place, kind, source = line.split(" ")
            text += f"36 35 {number} / {place} rw,noatime shared:1 - {kind} {source} rw\n"
        self.write("proc/self/mountinfo", text)
