"""ResizeDisk on real file systems in image files, and on loop devices where this machine has them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.handlers import VM
from tests.support.stores import need
from vminterface.errors import InvalidValue, ProgramFailed, VMInterfaceError
from vminterface.vm.machine.blockdevice import grow_file_system, grow_table, notice_size
from vminterface.vm.machine.machine import Machine

SERVICE = "qubes.ResizeDisk"
MIB = 1 << 20
CONFIGURATION = "etc/vminterface/handlers.conf"


def run(*words: object) -> str:
    command = [str(word) for word in words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def lack(*programs: str) -> str:
    gone = [program for program in programs if shutil.which(program) is None]
    return f"no {', '.join(gone)} (Debian packages e2fsprogs, xfsprogs, btrfs-progs, fdisk)" if gone else ""


def size_of_ext(place: Path | str) -> int:
    lines = (line.partition(":") for line in run("dumpe2fs", "-h", place).splitlines())
    found = {key: value.strip() for key, _, value in lines}
    return int(found["Block count"]) * int(found["Block size"])


def image(place: Path, size: int, *mkfs: str) -> Path:
    """Make a file of *size* with a file system, then make the file twice as large."""
    with open(place, "wb") as file:
        file.truncate(size)
    run(*mkfs, place)
    os.truncate(place, 2 * size)
    return place


@pytest.fixture
def loops(tmp_path: Path) -> Iterator[ExitStack]:
    """A stack that detaches what a test attaches; skip where nothing can be attached or mounted."""
    if os.geteuid() != 0:
        pytest.skip("only root attaches loop devices")
    probe = tmp_path / "probe"
    with open(probe, "wb") as file:
        file.truncate(MIB)
    found = subprocess.run(["losetup", "--find", "--show", probe], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip(f"no loop devices here: {found.stderr.strip()}")
    run("losetup", "--detach", found.stdout.strip())
    with ExitStack() as stack:
        yield stack


def attach(stack: ExitStack, place: Path) -> str:
    device = run("losetup", "--find", "--show", place).strip()
    stack.callback(run, "losetup", "--detach", device)
    return device


def mount(stack: ExitStack, device: str, folder: Path) -> None:
    folder.mkdir()
    run("mount", device, folder)
    stack.callback(run, "umount", folder)


def test_a_file_system_in_a_file_fills_it(vm: VM) -> None:
    need(lack("mkfs.ext4", "resize2fs"))
    place = image(vm.write("private.img"), 16 * MIB, "mkfs.ext4", "-q")
    vm.write(CONFIGURATION, "private-device = /private.img\n")
    for word in (b"private", b"private\n"):
        reply = vm.call(SERVICE, word)
        assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
        assert size_of_ext(place) == 32 * MIB
    os.truncate(place, 48 * MIB)
    assert vm.call(SERVICE, b"private").status == 0
    assert size_of_ext(place) == 48 * MIB
    run("e2fsck", "-f", "-n", place)


def test_a_file_system_that_had_to_be_repaired_first_fills_it_too(vm: VM) -> None:
    need(lack("mkfs.ext4", "resize2fs", "debugfs", "e2fsck"))
    place = image(vm.write("private.img"), 16 * MIB, "mkfs.ext4", "-q")
    # The root folder counts more links than it has: e2fsck corrects that by itself, and ends with status 1.
    run("debugfs", "-w", "-R", "set_inode_field <2> links_count 7", place)
    assert subprocess.run(["e2fsck", "-f", "-n", place], capture_output=True, check=False).returncode == 4
    vm.write(CONFIGURATION, "private-device = /private.img\n")
    reply = vm.call(SERVICE, b"private")
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    assert size_of_ext(place) == 32 * MIB
    run("e2fsck", "-f", "-n", place)


def test_a_file_system_that_cannot_be_repaired_is_left_alone(vm: VM) -> None:
    need(lack("mkfs.ext4", "resize2fs", "debugfs", "e2fsck"))
    place = image(vm.write("private.img"), 16 * MIB, "mkfs.ext4", "-q")
    # A root folder that is none: e2fsck does not correct that without being asked to, status 4.
    run("debugfs", "-w", "-R", "set_inode_field <2> mode 0100644", place)
    vm.write(CONFIGURATION, "private-device = /private.img\n")
    assert "e2fsck ended with status 4" in vm.call(SERVICE, b"private").refused(SERVICE)
    assert size_of_ext(place) == 16 * MIB


def test_root_is_another_device(vm: VM) -> None:
    need(lack("mkfs.ext4", "resize2fs"))
    root = image(vm.write("root.img"), 16 * MIB, "mkfs.ext4", "-q")
    private = image(vm.write("private.img"), 16 * MIB, "mkfs.ext4", "-q")
    vm.write(CONFIGURATION, "private-device = /private.img\nroot-device = /root.img\n")
    assert vm.call(SERVICE, b"root").status == 0
    assert (size_of_ext(root), size_of_ext(private)) == (32 * MIB, 16 * MIB)


def test_a_vm_without_the_device_says_so(vm: VM) -> None:
    assert vm.call(SERVICE, b"private").refused(SERVICE) == "this VM has no device /dev/xvdb"
    assert vm.call(SERVICE, b"root").refused(SERVICE) == "this VM has no device /dev/xvda"


def test_what_is_no_file_system_stays_as_it_is(vm: VM) -> None:
    place = vm.write("private.img", b"\0" * MIB)
    vm.write(CONFIGURATION, "private-device = /private.img\n")
    reason = vm.call(SERVICE, b"private").refused(SERVICE)
    assert reason == "/private.img does not hold a known file system (it may be damaged)"
    need(lack("mkswap"))
    run("mkswap", place)
    before = place.read_bytes()
    reason = vm.call(SERVICE, b"private").refused(SERVICE)
    assert reason == "/private.img has a file system that cannot grow: 'swap'"
    assert place.read_bytes() == before


def test_xfs_grows_only_where_it_is_mounted(vm: VM) -> None:
    need(lack("mkfs.xfs"))
    image(vm.write("private.img"), 320 * MIB, "mkfs.xfs", "-q")
    vm.write(CONFIGURATION, "private-device = /private.img\n")
    reason = vm.call(SERVICE, b"private").refused(SERVICE)
    assert reason == "the xfs file system of /private.img is not mounted, so it cannot grow"


@pytest.mark.parametrize(
    ("size", "mkfs"),
    [
        (16 * MIB, ("mkfs.ext4", "-q")),
        (320 * MIB, ("mkfs.xfs", "-q")),
        (128 * MIB, ("mkfs.btrfs", "-q")),
    ],
    ids=["ext4", "xfs", "btrfs"],
)
@pytest.mark.allow_skip  # a container's kernel may mount none of these
def test_a_mounted_file_system_grows_while_it_is_in_use(
    tmp_path: Path, loops: ExitStack, size: int, mkfs: tuple[str, ...]
) -> None:
    need(lack(mkfs[0]))
    place = image(tmp_path / "disk", size, *mkfs)
    device = attach(loops, place)
    folder = tmp_path / "mounted here"
    try:
        mount(loops, device, folder)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no mounts here: {error.stderr}")
    before = os.statvfs(folder)
    (folder / "file").write_text("still here")
    machine = Machine()
    notice_size(machine, device)
    try:
        grow_file_system(machine, device)
    except ProgramFailed as error:
        if "Permission denied to resize" not in str(error):
            raise
        pytest.skip(f"root may not use all of root's powers here: {error}")
    after = os.statvfs(folder)
    assert after.f_blocks * after.f_frsize > 1.8 * before.f_blocks * before.f_frsize
    assert (folder / "file").read_text() == "still here"


@pytest.mark.allow_skip  # a container may have no loop devices with partitions
def test_the_third_partition_grows_to_the_end_of_the_disk(tmp_path: Path, loops: ExitStack) -> None:
    need(lack("sfdisk", "partx"))
    place = tmp_path / "disk"
    with open(place, "wb") as file:
        file.truncate(32 * MIB)
    table = b"label: gpt\n, 1M\n, 1M\n, +\n"
    subprocess.run(["sfdisk", "-q", place], input=table, check=True, capture_output=True, timeout=30)
    os.truncate(place, 64 * MIB)
    device = run("losetup", "--find", "--show", "--partscan", place).strip()
    loops.callback(run, "losetup", "--detach", device)
    name = os.path.basename(device)
    if not Path(f"/sys/class/block/{name}p3").exists():
        pytest.skip("the kernel shows no partitions of loop devices here")
    grow_table(Machine(), device, f"{device}p3")
    assert int(Path(f"/sys/class/block/{name}p3/size").read_text()) * 512 > 60 * MIB
    run("sfdisk", "--verify", place)


def test_the_partition_table_of_a_larger_disk_is_moved_to_its_end(vm: VM) -> None:
    need(lack("sfdisk"))
    place = vm.write("dev/xvda", b"")
    os.truncate(place, 32 * MIB)
    table = b"label: gpt\n, 1M\n, 1M\n, +\n"
    subprocess.run(["sfdisk", "-q", place], input=table, check=True, capture_output=True, timeout=30)
    os.truncate(place, 64 * MIB)

    class WithoutKernel(Machine):
        def run(self, argv: Sequence[str], **options: Any) -> bytes:
            return b"" if argv[0] == "partx" else super().run(argv, **options)

    grow_table(WithoutKernel(str(vm.root)), "/dev/xvda", "/dev/xvda3")
    (line,) = [line for line in run("sfdisk", "--dump", place).splitlines() if "xvda3" in line]
    sectors = int(line.partition("size=")[2].split(",")[0])
    assert sectors * 512 > 60 * MIB
    assert "No errors detected" in run("sfdisk", "--verify", place)


class Recorded(Machine):
    """A machine whose programs are only written down; what ``dmsetup table`` says is given."""

    def __init__(self, root: Path, table: bytes = b"") -> None:
        super().__init__(str(root))
        self.table = table
        self.commands: list[str] = []

    def run(self, argv: Sequence[str], **options: Any) -> bytes:
        self.commands.append(" ".join(argv))
        return self.table if argv[:2] == ["dmsetup", "table"] else b"label: gpt\n/dev/xvda3 : start= 1\n"


def block(vm: VM, name: str, number: str, sectors: int) -> None:
    vm.write(f"sys/class/block/{name}/size", f"{sectors}\n")
    vm.write(f"sys/class/block/{name}/dev", f"{number}\n")
    vm.write(f"dev/{name}")


def test_a_linear_mapping_grows_with_what_is_below_it(vm: VM) -> None:
    block(vm, "xvda", "202:0", 40000)
    block(vm, "xvda3", "202:3", 30000)
    machine = Recorded(vm.root, b"0 20000 linear 202:3 8\n")
    grow_table(machine, "/dev/xvda", "/dev/dm-0")
    disk = vm.root / "dev/xvda"
    assert machine.commands == [
        "dmsetup table /dev/dm-0",
        f"sfdisk --dump {disk}",
        f"sfdisk --no-reread --force -N 3 {disk}",
        f"partx --update --nr 3 {disk}",
        "dmsetup reload /dev/dm-0 --table 0 29992 linear 202:3 8",
        "dmsetup resume /dev/dm-0",
    ]


def test_a_mapping_of_the_whole_disk_needs_no_partition(vm: VM) -> None:
    block(vm, "xvda", "202:0", 40000)
    machine = Recorded(vm.root, b"0 20000 linear 202:0 0\n")
    grow_table(machine, "/dev/xvda", "/dev/dm-0")
    assert machine.commands[1:] == [
        "dmsetup reload /dev/dm-0 --table 0 40000 linear 202:0 0",
        "dmsetup resume /dev/dm-0",
    ]


@pytest.mark.parametrize(
    ("holder", "table", "reason"),
    [
        ("/dev/xvda2", b"", "xvda2, which is not on /dev/xvda"),
        ("/dev/sdb3", b"", "sdb3, which is not on"),
        ("/dev/dm-0", b"0 100 snapshot 202:0 202:4 P 8\n", "not a linear mapping"),
        ("/dev/dm-0", b"0 100 linear 202:0 0\n100 100 linear 202:3 0\n", "not a linear mapping"),
        ("/dev/dm-0", b"0 100 linear 202:7 0\n", "maps the device 202:7"),
    ],
)
def test_another_arrangement_is_refused_before_any_change(vm: VM, holder: str, table: bytes, reason: str) -> None:
    block(vm, "xvda", "202:0", 40000)
    block(vm, "xvda3", "202:3", 30000)
    machine = Recorded(vm.root, table)
    with pytest.raises(VMInterfaceError, match=reason):
        grow_table(machine, "/dev/xvda", holder)
    assert machine.commands in ([], ["dmsetup table /dev/dm-0"])


def test_a_whole_disk_needs_no_table(vm: VM) -> None:
    block(vm, "xvda", "202:0", 40000)
    machine = Recorded(vm.root)
    grow_table(machine, "/dev/xvda", str(vm.root / "dev/xvda"))
    assert machine.commands == []


def test_a_partition_behind_the_root_partition_forbids_its_growth(vm: VM) -> None:
    block(vm, "xvda", "202:0", 40000)
    block(vm, "xvda3", "202:3", 30000)

    class Crowded(Recorded):
        def run(self, argv: Sequence[str], **options: Any) -> bytes:
            super().run(argv)
            return b"/dev/xvda3 : start= 1, size= 2\n/dev/xvda4 : start= 3, size= 2\n"

    machine = Crowded(vm.root)
    with pytest.raises(VMInterfaceError, match="a partition after its root partition"):
        grow_table(machine, "/dev/xvda", "/dev/xvda3")
    assert len(machine.commands) == 1


def test_a_tool_that_fails_is_named(vm: VM) -> None:
    need(lack("mkfs.ext4"))
    place = image(vm.write("private.img"), 16 * MIB, "mkfs.ext4", "-q")
    with pytest.raises(ProgramFailed, match="resize2fs"):
        grow_file_system(_Failing(str(vm.root)), "/private.img")
    assert size_of_ext(place) == 16 * MIB
    with pytest.raises(InvalidValue):
        grow_file_system(_Odd(str(vm.root)), "/private.img")


class _Failing(Machine):
    def run(self, argv: Sequence[str], **options: Any) -> bytes:
        if argv[0] == "resize2fs":
            raise ProgramFailed("resize2fs ended with status 1: no space")
        return super().run(argv, **options)


class _Odd(Machine):
    def run(self, argv: Sequence[str], **options: Any) -> bytes:
        return b"crypto_LUKS\n"
