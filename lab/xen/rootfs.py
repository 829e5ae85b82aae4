"""The root file systems of dom0 and of a VM: the few programs that they need, with their libraries."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from lab.xen.cpio import Cpio
from vminterface.errors import ProgramFailed

_LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
_XEN = "usr/lib/xen-4.17/bin"
#: Opened by name while a program runs.
_LATE = (
    "ld-linux-x86-64.so.2", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libm.so.6",
    "libnss_files.so.2", "libgcc_s.so.1", "libcrypto.so.3", "libssl.so.3", "libc.so.6", "libxenvchan.so.4.17",
)  # fmt: skip
_WITHOUT = re.compile(r"/(test|tests|idlelib|lib2to3|tkinter|ensurepip|turtledemo|pydoc_data|distutils|config-3[^/]*)/")
_ZONES = ("Europe", "America", "Asia", "Australia", "Etc", "UTC")
_FOLDERS = (
    "bin", "sbin", "usr/bin", "usr/sbin", "usr/lib/x86_64-linux-gnu", "proc", "sys", "dev", "run", "tmp", "root", "mnt",
    "home/user", "var/log/xen/console", "var/lib/xen/dump", "var/lib/xenstored", "etc",
)  # fmt: skip


class RootFS:
    """Fills *archive* from the unpacked packages in *root*."""

    def __init__(self, archive: Cpio, root: Path) -> None:
        self._archive = archive
        self._root = root

    def base(self) -> None:
        """Folders, a shell, Python with its library, time zones, ``xenstore-read`` and its like."""
        for folder in _FOLDERS:
            self._archive.folder(folder)
        for link, target in {"lib": "usr/lib", "lib64": "usr/lib/x86_64-linux-gnu", "var/run": "/run"}.items():
            self._archive.link(link, target)
        self._archive.file("bin/busybox", self._root / "bin/busybox")
        self._archive.link("bin/sh", "busybox")
        self._text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
        self._text("etc/group", "root:x:0:\nuser:x:1000:\n")
        self._text("etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\tlocalhost\n")
        self._text("etc/debian_version", "12\n")
        self._text("etc/timezone", "Etc/UTC\n")
        self._archive.link("etc/localtime", "../usr/share/zoneinfo/Etc/UTC")
        for library in _LATE:
            self._library(library)
        for name in ("read", "write", "ls", "list", "rm", "exists", "watch", "chmod"):
            self._program(f"usr/bin/xenstore-{name}")
        self._program("usr/sbin/ip", self._root / "bin/ip")
        # Busybox' own would run busybox' ip, which knows but a part of that.
        self._program("usr/bin/env")
        self._python()
        for zone in _ZONES:
            name = f"usr/share/zoneinfo/{zone}"
            add = self._archive.tree if (self._root / name).is_dir() else self._archive.file
            add(name, self._root / name)

    def dom0(self) -> None:
        """The toolstack and the real xenstored."""
        for name in ("xenstored", "xl", "xen-init-dom0", "xenconsoled", "libxl-save-helper"):
            if not (self._root / _XEN / name).exists():
                raise ProgramFailed(f"the package xen-utils-4.17 has no {_XEN}/{name}")
            self._program(f"{_XEN}/{name}")
            self._archive.link(f"usr/sbin/{name}", f"/{_XEN}/{name}")
        self._text("etc/xen/xl.conf", 'autoballoon="off"\n')

    def vm(self) -> None:
        """The firewall's program, of which only a VM makes use."""
        self._program("usr/sbin/nft")

    def extra(self, name: str) -> None:
        """What only some VMs have: ``screens``, the X server with VMs' video driver, or ``chrony``."""
        if name == "chrony":
            self._program("usr/sbin/chronyd")
            self._program("usr/bin/chronyc")
            return
        for program in ("usr/lib/xorg/Xorg", "usr/lib/xorg/modules/drivers/dummy_drv.so", "usr/bin/xkbcomp",
                        "usr/bin/xrandr", "usr/bin/setxkbmap"):  # fmt: skip
            self._program(program)
        # The session is its user's, whom root becomes by this.
        self._program("usr/sbin/runuser", self._root / "sbin/runuser")
        self._program("lib/x86_64-linux-gnu/security/pam_permit.so")
        rules = "".join(f"{kind} required pam_permit.so\n" for kind in ("auth", "account", "session"))
        self._text("etc/pam.d/runuser", rules)
        self._archive.tree("usr/share/X11/xkb", self._root / "usr/share/X11/xkb")

    def modules(self, listing: str, *names: str) -> None:
        """Kernel modules with those that they depend on, in ``/modules``, and their order in the file *listing*."""
        found = {path.stem.replace("-", "_"): path for path in self._root.glob("lib/modules/*/kernel/**/*.ko")}
        order: list[str] = []

        def add(name: str) -> None:
            name = name.replace("-", "_")
            if name not in found or name in order:
                return
            data = found[name].read_bytes()
            for needed in re.findall(rb"\0(?:depends=|softdep=pre: )([^\0]+)", data):
                for one in re.split(r"[, ]+", needed.decode()):
                    add(one)
            order.append(name)
            if f"modules/{name}.ko" not in self._archive.names:
                self._archive.data(f"modules/{name}.ko", data)

        for name in names:
            add(name)
        self._text(f"modules/{listing}", "".join(f"{name}\n" for name in order))

    def _text(self, name: str, text: str) -> None:
        self._archive.data(name, text.encode())

    def _python(self) -> None:
        python = f"python3.{sys.version_info.minor}"
        self._program(f"usr/bin/{python}")
        self._archive.link("usr/bin/python3", python)
        library = self._root / "usr/lib" / python
        for path in sorted(library.rglob("*")):
            name = str(path.relative_to(self._root))
            if path.is_dir() or _WITHOUT.search(f"/{name}"):
                continue
            if path.suffix != ".so":
                self._archive.file(name, path)
            elif all(self._find(needed) for needed in self._needed(path)):
                self._program(name)

    def _program(self, name: str, source: Path | None = None) -> None:
        """Add a program or library with the libraries that it needs, and what a link leads to."""
        if name in self._archive.names:
            return
        source = source or self._root / name
        self._archive.data(name, source.resolve().read_bytes(), 0o755)
        for needed in self._needed(source):
            self._library(needed)

    def _library(self, name: str) -> None:
        source = self._find(name)
        if source is None:
            raise ProgramFailed(f"none of the packages has the library {name}")
        self._program(f"usr/lib/x86_64-linux-gnu/{name}", source)

    def _find(self, library: str) -> Path | None:
        return next((path for folder in _LIBRARIES if (path := self._root / folder / library).exists()), None)

    @staticmethod
    def _needed(source: Path) -> list[str]:
        done = subprocess.run(["readelf", "-d", str(source)], capture_output=True, text=True, check=False, timeout=30)
        return re.findall(r"\(NEEDED\).*\[(.*)\]", done.stdout)
