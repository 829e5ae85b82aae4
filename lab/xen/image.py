"""Puts the host together: hypervisor, kernel, the file systems of dom0 and of a VM, and a disk with Salt."""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.paths import PROJECT
from lab.xen import packages, paths, qrexec, salt, tinykernel
from lab.xen.cpio import Cpio
from lab.xen.rootfs import RootFS
from vminterface.errors import ProgramFailed

_DOM0_MODULES = (
    "xenfs", "xen-privcmd", "xen-evtchn", "xen-gntdev", "xen-gntalloc", "virtio_pci", "virtio_blk", "virtio_console",
    "crc32c_generic", "ext4",
)  # fmt: skip
_VM_MODULES = ("xenfs", "xen-evtchn", "xen-gntdev", "xen-gntalloc", "xen-netfront")
_BACKEND_MODULES = (
    "crc32c_generic", "xen-netback", "nf_tables", "nft_chain_nat", "nft_ct", "nft_nat", "nft_masq", "nft_reject_ipv4",
    "nft_reject_ipv6", "nft_log",
)  # fmt: skip
_DISK_MIB = 320
_FORMULA = PROJECT / "formulas/vminterface"
#: Where Debian's users do not look for programs, which mke2fs is.
_WITH_SBIN = {**os.environ, "PATH": f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"}
#: What only some VMs have: an X server, a time service.
EXTRAS = ("screens", "chrony")


@dataclass(frozen=True, slots=True)
class Image:
    """What QEMU is given. ``mark`` is a hash of all that it was made from."""

    mark: str
    xen: Path
    kernel: Path
    dom0: Path
    disk: Path


def build(log: Callable[[str], None]) -> Image:
    """Make what is not in the cache yet, telling *log* of each step. Raises ProgramFailed and OSError."""
    with ThreadPoolExecutor(1) as beside:
        log("Debian packages; beside them the disk with Salt, which needs none")
        made = beside.submit(_salt)
        root = packages.unpacked()
    disk = made.result()
    sources = [Path(__file__).with_name(name) for name in ("cpio.py", "image.py", "rootfs.py", "tinykernel.py")]
    base_mark = paths.mark(root.parent.name, *sources, paths.INSIDE, *qrexec.SOURCES)
    log("hypervisor, kernel, the file systems' common part")
    base = paths.cached("base", base_mark, lambda folder: _base(root, folder))
    log("this project's own part")
    mark = paths.mark(base.name, disk.name, *paths.product())
    image = paths.cached("image", mark, lambda folder: _with_product(base, folder))
    return Image(mark, base / "xen", base / "vmlinux", image / "dom0.cpio", disk / "salt.img")


def _salt() -> Path:
    return paths.cached("salt", paths.mark(Path(salt.__file__), str(_DISK_MIB), *salt.versions()), _disk)


def _base(root: Path, folder: Path) -> None:
    with gzip.open(_only(root, "boot/xen-*.gz")) as packed:
        (folder / "xen").write_bytes(packed.read())
    (folder / "vmlinux").write_bytes(_elf_kernel(_only(root, "boot/vmlinuz-*").read_bytes()))
    stage = folder / "stage"
    qrexec.stage(stage)
    _compile(stage)
    for name in ("dom0", "vm"):
        with Cpio(folder / f"{name}.cpio") as archive:
            made = RootFS(archive, root)
            made.base()
            archive.tree(qrexec.FOLDER, stage)
            if name == "dom0":
                made.dom0()
                made.modules("order", *_DOM0_MODULES)
                archive.file("boot/vmlinux", folder / "vmlinux")
                archive.data("usr/bin/salt-call", (paths.INSIDE / "salt-call").read_bytes(), 0o755)
                archive.file("lab/warm_salt.py", paths.INSIDE / "warm_salt.py")
                archive.data("boot/tiny", tinykernel.image())
                archive.data("sbin/ldconfig", (paths.INSIDE / "ldconfig").read_bytes(), 0o755)
                archive.data("usr/bin/qrexec-client", (paths.INSIDE / "qrexec-client").read_bytes(), 0o755)
            else:
                made.vm()
                made.modules("order", *_VM_MODULES)
                made.modules("backend", *_BACKEND_MODULES)
            archive.data("init", (paths.INSIDE / f"init-{name}").read_bytes(), 0o755)
            for program in ("init-common", "commands.py", "hotplug.py"):
                archive.file(f"lab/{program}", paths.INSIDE / program)
        there = archive.names
    for name in EXTRAS:
        with Cpio(folder / f"{name}.cpio") as archive:
            archive.names |= there  # of the VM, to whose archive this one is added
            RootFS(archive, root).extra(name)
    shutil.rmtree(stage)


def _only(root: Path, pattern: str) -> Path:
    found = [path for path in root.glob(pattern) if not path.is_symlink()]
    if len(found) != 1:
        raise ProgramFailed(f"the packages have {len(found)} files {pattern}; expected one")
    return found[0]


def _elf_kernel(image: bytes) -> bytes:
    """Return the kernel inside of a bzImage (Linux, Documentation/arch/x86/boot.rst): unpacking it there is slow."""
    offset, size = struct.unpack_from("<II", image, 0x248)
    start = (image[0x1F1] + 1) * 512 + offset
    kernel = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(image[start : start + size])
    if not kernel.startswith(b"\x7fELF"):
        raise ProgramFailed("the kernel's package holds no ELF kernel packed by xz")
    return kernel


def _disk(folder: Path) -> None:
    """Make an ext4 file system with the packages that Salt needs, as this environment has them."""
    tree = folder / "tree"
    (tree / "site").mkdir(parents=True)
    salt.copy(tree / "site")
    salt.write_imports(tree / "imports")
    _compile(tree / "site")
    disk = folder / "salt.img"
    _do("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", str(tree), str(disk), f"{_DISK_MIB}M")
    shutil.rmtree(tree)


def _compile(folder: Path) -> None:
    """Compile the modules below *folder* that have not been yet."""
    todo = [str(path) for path in folder.rglob("*.py") if not salt.compiled_file(path).exists()]
    if not todo:
        return
    # What cannot be compiled is for other Pythons; it is as it was.
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "-j", "2", "--invalidation-mode", "unchecked-hash", "-i", "-"],
        input=os.fsencode("\n".join(todo)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
        timeout=600,
    )  # fmt: skip


def _with_product(base: Path, folder: Path) -> None:
    """Add to the base what the README has an admin do: ``make install`` in dom0, VMs in its pillar, the VM's agent."""
    stage = folder / "stage"
    environment = {**os.environ, "MINION_ID": "dom0"}
    _do(str(PROJECT / "tools/install"), str(stage), environment=environment)
    # The example, which is installed as a comment, is about the VMs of the lab.
    shutil.copyfile(PROJECT / "pillar/qubes/init.sls", stage / "srv/pillar/vminterface.sls")
    with Cpio(folder / "vm-own.cpio") as archive:
        library = stage / "usr/local/lib/vminterface/vminterface"
        _compile(library)
        archive.tree("usr/lib/vminterface/vminterface", library)
        archive.data("usr/bin/vminterface", _rendered("vminterface").encode(), 0o755)
        archive.data("etc/init.d/vminterface-agent", _rendered("vminterface-agent.init").encode(), 0o755)
        agent = _defaults()["agent"]
        qrexec.handlers(archive, stage / "handlers", agent["python"], agent["library"])
    vm = _joined(folder / "vm.cpio", base / "vm.cpio", folder / "vm-own.cpio")
    for cached in stage.rglob("__pycache__"):
        shutil.rmtree(cached)
    with Cpio(folder / "dom0-own.cpio") as archive:
        archive.tree("srv", stage / "srv")
        archive.tree("usr/local/lib", stage / "usr/local/lib")
        minion = "id: dom0\nfile_client: local\nlog_level_logfile: quiet\nlog_level: error\n"
        archive.data("etc/salt/minion", minion.encode())
        archive.file("boot/vm.cpio", vm)
        for name in EXTRAS:
            archive.file(f"boot/{name}.cpio", base / f"{name}.cpio")
    _joined(folder / "dom0.cpio", base / "dom0.cpio", folder / "dom0-own.cpio")
    shutil.rmtree(stage)
    vm.unlink()


def _rendered(name: str) -> str:
    """Return a file of the formula as ``vminterface.agent`` puts it into a VM."""
    import jinja2

    source = (_FORMULA / "files" / name).read_text()
    text: str = jinja2.Template(source, keep_trailing_newline=True).render(_defaults())
    return text


def _defaults() -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = yaml.safe_load((_FORMULA / "defaults.yaml").read_text())
    return found


def _joined(path: Path, *parts: Path) -> Path:
    with path.open("wb") as whole:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, whole)
    for part in parts:
        if part.parent == path.parent:
            part.unlink()
    return path


def _do(*command: str, environment: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            command, env=environment or _WITH_SBIN, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=600, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProgramFailed(f"{command[0]}: {error}") from None
    if done.returncode:
        raise ProgramFailed(f"{command[0]} failed (status {done.returncode}): {done.stderr.strip()[-1000:]}")
