"""Fifty devices and what Qubes' own udev scripts said of them: linux-utils at 25063069, as R4.3 has it, run on mock
devices. A row holds what udev and sysfs know of a device, how it is in use there, and what was written, None: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Stock:
    """The keys of a block device."""

    desc: str
    size: int
    mode: str
    parent: str

    def keys(self) -> dict[str, str]:
        return {"desc": self.desc, "size": str(self.size), "mode": self.mode, "parent": self.parent}


@dataclass(frozen=True)
class Block:
    """A block device: *folder* is where sysfs has it, *sectors* its size in units of 512 bytes."""

    name: str
    number: str
    folder: str
    sectors: int
    stock: Stock | None
    udev: dict[str, str] = field(default_factory=dict)
    partition: bool = False
    read_only: bool = False
    backing_file: str = ""
    #: "mounted", "mounted by its source", "swap", "held", "attached", "partition attached", "marked folder" or "".
    use: str = ""


@dataclass(frozen=True)
class Usb:
    """A USB device of version 2: *vendor*, *model*, *serial*, *interfaces* as udev writes them; *desc* is stock's."""

    name: str
    folder: str
    ids: str
    vendor: str
    model: str
    serial: str
    interfaces: str
    desc: str | None
    device_class: str = "00"


BLOCK_DEVICES = (
    Block(
        "sda",
        "8:0",
        "devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block",
        1000215216,
        None,
        udev={"ID_TYPE": "disk", "ID_BUS": "ata", "ID_MODEL": "Samsung_SSD_860"},
    ),
    Block(
        "sda2",
        "8:2",
        "devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda",
        900000000,
        None,
        udev={
            "ID_TYPE": "disk",
            "ID_BUS": "ata",
            "ID_MODEL": "Samsung_SSD_860",
            "ID_FS_LABEL": "root",
            "ID_FS_TYPE": "ext4",
        },
        partition=True,
        use="mounted",
    ),
    Block(
        "dm-0",
        "253:0",
        "devices/virtual/block",
        400000,
        Stock("vg-data", 204800000, "w", ""),
        udev={"DM_UDEV_PRIMARY_SOURCE_FLAG": "1", "DM_NAME": "vg-data"},
    ),
    Block(
        "sdc1",
        "8:33",
        "devices/pci0000:00/0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0/block/sdc",
        490000,
        None,
        udev={"ID_TYPE": "disk", "ID_BUS": "ata", "ID_MODEL": "CT500", "ID_FS_TYPE": "crypto_LUKS"},
        partition=True,
        use="held",
    ),
    Block(
        "sdd",
        "8:48",
        "devices/pci0000:00/0000:00:17.0/ata4/host3/target3:0:0/3:0:0:0/block",
        500000,
        None,
        udev={"ID_TYPE": "disk", "ID_BUS": "ata", "ID_MODEL": "HGST"},
        use="held",
    ),
    Block(
        "dm-2",
        "253:2",
        "devices/virtual/block",
        2048,
        Stock(r"my\x20vol\x28\xc3\xa9\x29_#1", 1048576, "w", ""),
        udev={"DM_NAME": r"my\x20vol\x28\xc3\xa9\x29_#1"},
    ),
    Block("dm-4", "253:4", "devices/virtual/block", 2048, None, udev={"DM_NAME": "origin-254:1:99"}),
    Block(
        "dm-6",
        "253:6",
        "devices/virtual/block",
        2048,
        Stock("mpath_other_flag", 1048576, "w", ""),
        udev={"DM_UDEV_DISABLE_OTHER_RULES_FLAG": "1", "DM_NAME": "mpath_other_flag"},
    ),
    Block(
        "dm-10",
        "253:10",
        "devices/virtual/block",
        2048,
        Stock("plain-vol", 1048576, "w", ""),
        udev={"DM_NAME": "plain-vol"},
    ),
    Block(
        "loop0",
        "7:0",
        "devices/virtual/block",
        8192,
        Stock("/home/user/my disk image.img", 4194304, "w", ""),
        udev={"ID_FS_LABEL": "X"},
        backing_file="/home/user/my disk image.img",
    ),
    Block(
        "loop2",
        "7:2",
        "devices/virtual/block",
        8192,
        Stock("/srv/x.img (deleted)", 4194304, "w", ""),
        backing_file="/srv/x.img (deleted)",
    ),
    Block(
        "loop4",
        "7:4",
        "devices/virtual/block",
        8192,
        None,
        backing_file="/var/lib/qubes/sub/x.img",
        use="marked folder",
    ),
    Block(
        "loop6",
        "7:6",
        "devices/virtual/block",
        80000,
        Stock("/home/user/disk.raw", 40960000, "w", ""),
        backing_file="/home/user/disk.raw",
    ),
    Block(
        "loop7",
        "7:7",
        "devices/virtual/block",
        0,
        Stock("/home/user/zero.img", 0, "w", ""),
        backing_file="/home/user/zero.img",
    ),
    Block("nbd0", "43:0", "devices/virtual/block", 0, None),
    Block(
        "nvme0n1",
        "259:0",
        "devices/pci0000:00/0000:00:1d.0/0000:02:00.0/nvme/nvme0",
        2000000,
        Stock("KINGSTON_SA2000M8 ()", 1024000000, "w", ""),
        udev={"ID_MODEL": "KINGSTON_SA2000M8"},
    ),
    Block(
        "nvme0n2",
        "259:2",
        "devices/pci0000:00/0000:00:1d.0/0000:02:00.0/nvme/nvme0",
        2000000,
        Stock("KINGSTON_SA2000M8 ()", 1024000000, "w", ""),
        udev={"ID_MODEL": "KINGSTON_SA2000M8"},
    ),
    Block(
        "nvme10n1p128",
        "259:3",
        "devices/pci0000:00/0000:00:1d.0/0000:02:00.0/nvme/nvme10/nvme10n1",
        2000,
        Stock("K ()", 1024000, "w", "nvme10n1"),
        udev={"ID_MODEL": "K"},
        partition=True,
    ),
    Block(
        "sr1",
        "11:1",
        "devices/pci0000:00/0000:00:17.0/ata6/host5/target5:0:0/5:0:0:0/block",
        2097151,
        None,
        udev={"ID_TYPE": "cd", "ID_MODEL": "DVDRAM_GH24", "ID_CDROM": "1"},
    ),
    Block(
        "mmcblk0p1",
        "179:1",
        "devices/pci0000:00/0000:00:1e.6/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0",
        31100000,
        Stock(" (CANON_DC)", 15923200000, "r", "mmcblk0"),
        udev={"ID_NAME": "SL16G", "ID_FS_LABEL": "CANON_DC"},
        partition=True,
        read_only=True,
    ),
    Block(
        "sde",
        "8:64",
        "devices/pci0000:00/0000:00:14.0/usb2/2-4/2-4:1.0/host5/target5:0:0/5:0:0:0/block",
        0,
        Stock("STORAGE_DEVICE ()", 0, "w", "2-4:1.0"),
        udev={"ID_TYPE": "disk", "ID_BUS": "usb", "ID_MODEL": "STORAGE_DEVICE"},
    ),
    Block("fd0", "2:0", "devices/platform/floppy.0/block", 2880, Stock(" ()", 1474560, "w", "")),
    Block("xvda", "202:0", "devices/vbd-51712/block", 20000, None),
    Block("xvdc", "202:32", "devices/vbd-51744/block", 20000, None),
    Block("vda", "254:0", "devices/pci0000:00/0000:00:05.0/virtio2/block", 20000, Stock(" ()", 10240000, "w", "")),
    Block(
        "sdf1",
        "8:81",
        "devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block/sdf",
        20000,
        Stock("Cruzer_Blade (Fotos_Ubung)", 10240000, "w", "sdf"),
        udev={"ID_TYPE": "disk", "ID_MODEL": "Cruzer_Blade", "ID_FS_LABEL": "Fotos_Übung"},
        partition=True,
    ),
    Block(
        "sdg",
        "8:96",
        "devices/pci0000:00/0000:00:17.0/ata7/host6/target6:0:0/6:0:0:0/block",
        5000,
        None,
        udev={"ID_TYPE": "disk", "ID_BUS": "ata", "ID_MODEL": "SWAPD"},
        use="swap",
    ),
    Block(
        "sdh",
        "8:112",
        "devices/pci0000:00/0000:00:17.0/ata8/host7/target7:0:0/7:0:0:0/block",
        5000,
        None,
        udev={"ID_TYPE": "disk", "ID_BUS": "ata", "ID_MODEL": "BTR", "ID_FS_LABEL": "b"},
        use="mounted by its source",
    ),
    Block(
        "sdj",
        "8:144",
        "devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1.1/2-1.1.2/2-1.1.2.1/2-1.1.2.1:1.0/host9/target9:0:0/9:0:0:0/block",
        7000,
        Stock(" ()", 3584000, "w", "2-1.1.2.1:1.0"),
        udev={"ID_TYPE": "disk", "ID_BUS": "usb"},
    ),
    Block(
        "sdl",
        "8:176",
        "devices/pci0000:00/0000:00:17.0/ata10/host9/target9:0:0/9:0:0:0/block",
        7000,
        None,
        udev={"ID_TYPE": "disk", "ID_BUS": "ata", "ID_MODEL": "ATTP"},
        use="partition attached",
    ),
    Block(
        "sdm",
        "8:192",
        "devices/pci0000:00/0000:00:17.0/ata11/host10/target10:0:0/10:0:0:0/block",
        7000,
        Stock("ATTM ()", 3584000, "w", "ata11"),
        udev={"ID_TYPE": "disk", "ID_BUS": "ata", "ID_MODEL": "ATTM"},
        use="attached",
    ),
    Block(
        "sdn",
        "8:208",
        "devices/pci0000:00/0000:00:17.0/ata12/host11/target11:0:0/11:0:0:0/block",
        7000,
        None,
        udev={"ID_TYPE": "disk", "ID_BUS": "ata", "ID_MODEL": "IGN", "UDISKS_IGNORE": "1"},
    ),
    Block(
        "sdp",
        "8:240",
        "devices/pci0000:00/0000:00:17.0/ata14/host13/target13:0:0/13:0:0:0/block",
        0,
        Stock("ZERO ()", 0, "w", "ata14"),
        udev={"ID_TYPE": "disk", "ID_BUS": "ata", "ID_MODEL": "ZERO"},
    ),
    Block(
        "sdq",
        "65:0",
        "devices/pci0000:00/0000:00:17.0/ata15/host14/target14:0:0/14:0:0:0/block",
        7000,
        Stock(f"Evil_Model_{300 * 'x'};rm (a_b)", 3584000, "w", "ata15"),
        udev={"ID_TYPE": "disk", "ID_BUS": "ata", "ID_MODEL": f"Evil_Model_{300 * 'x'};rm", "ID_FS_LABEL": "a_b"},
    ),
    Block(
        "pmem0", "259:20", "devices/LNXSYSTM:00/ndbus0/region0/namespace0.0/block", 7000, Stock(" ()", 3584000, "w", "")
    ),
    Block(
        "mmcblk1p1",
        "179:33",
        "devices/pci0000:00/0000:00:14.0/usb1/1-6/1-6:1.0/rtsx_usb_sdmmc.3.auto/mmc_host/mmc1/mmc1:aaaa/block/mmcblk1",
        31116,
        Stock(" ()", 15931392, "w", "mmcblk1"),
        udev={"ID_NAME": "SL16G"},
        partition=True,
    ),
    Block(
        "loop9",
        "7:9",
        "devices/virtual/block",
        8,
        Stock(r"/home/user/caf\xe9.img", 4096, "w", ""),
        backing_file=r"/home/user/caf\xe9.img",
    ),
    Block("loop11", "7:11", "devices/virtual/block", 8, Stock("rel.img", 4096, "w", ""), backing_file="rel.img"),
)

USB_DEVICES = (
    Usb(
        "2-1",
        "devices/pci0000:00/0000:00:14.0/usb2",
        "0781:5567",
        "SanDisk",
        r"Cruzer\x20Blade",
        "4C530001230101117391",
        ":080650:",
        r"0781:5567 SanDisk Cruzer\x20Blade 4C530001230101117391",
    ),
    Usb(
        "1-3",
        "devices/pci0000:00/0000:00:14.0/usb1",
        "5986:2113",
        r"SunplusIT\x20Inc",
        r"Integrated\x20Camera",
        "",
        ":0e0100:0e0200:0e0101:0e0201:fe0101:",
        r"5986:2113 SunplusIT\x20Inc Integrated\x20Camera ",
        device_class="ef",
    ),
    Usb(
        "1-4",
        "devices/pci0000:00/0000:00:14.0/usb1",
        "05e3:0608",
        "Genesys",
        r"USB2.0\x20Hub",
        "",
        ":090000:",
        None,
        device_class="09",
    ),
    Usb(
        "1-6",
        "devices/pci0000:00/0000:00:14.0/usb1",
        "1a86:7523",
        "1a86",
        "7523",
        "",
        ":ff0102:",
        "1a86:7523 1a86 7523 ",
    ),
    Usb(
        "1-8",
        "devices/pci0000:00/0000:00:14.0/usb1",
        "0403:6001",
        "FTDI",
        r"FT232R\x20USB\x20UART",
        "A1",
        ":ffffff:",
        r"0403:6001 FTDI FT232R\x20USB\x20UART A1",
    ),
    Usb(
        "1-10",
        "devices/pci0000:00/0000:00:14.0/usb1",
        "0627:0001",
        "QEMU",
        r"QEMU\x20USB\x20Tablet",
        "42",
        ":030002:",
        None,
    ),
    Usb("5-1", "devices/platform/vhci_hcd.0/usb5", "0781:5567", "SanDisk", "Remote", "1", ":080650:", None),
    Usb(
        "1-12",
        "devices/pci0000:00/0000:00:14.0/usb1",
        "8087:0a2b",
        "8087",
        "0a2b",
        "",
        ":e00101:",
        "8087:0a2b 8087 0a2b ",
        device_class="e0",
    ),
    Usb(
        "1-14",
        "devices/pci0000:00/0000:00:14.0/usb1",
        "0bda:8153",
        "Realtek",
        r"USB\x2010\x2f100\x2f1000\x20LAN",
        "000001",
        ":ffff00:",
        r"0bda:8153 Realtek USB\x2010\x2f100\x2f1000\x20LAN 000001",
    ),
    Usb(
        "1-16",
        "devices/pci0000:00/0000:00:14.0/usb1",
        "0bda:0001",
        r"\x20\x20Spaces\x20\x20",
        r"\x5cx41\x20back\x5cslash",
        "",
        ":030102:030101:",
        r"0bda:0001 \x20\x20Spaces\x20\x20 \x5cx41\x20back\x5cslash ",
    ),
    Usb(
        "1-18",
        "devices/pci0000:00/0000:00:14.0/usb1",
        "1050:0407",
        "Yubico",
        r"YubiKey\x20OTP+FIDO+CCID",
        "",
        ":030101:030000:0b0000:",
        r"1050:0407 Yubico YubiKey\x20OTP+FIDO+CCID ",
    ),
    Usb(
        "1-20",
        "devices/pci0000:00/0000:00:14.0/usb1",
        "1b1c:1b2e",
        "Corsair",
        "Keyboard",
        "",
        ":030101:",
        "1b1c:1b2e Corsair Keyboard ",
    ),
)
