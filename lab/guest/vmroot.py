"""The file system of a VM: a folder with its own ``/etc``, ``/home``, ``/rw``, ``/run``, ``/var``; the host's programs.

What a VM keeps over a restart is what a Qubes VM keeps: ``/home``, ``/rw`` with ``/usr/local`` in it, and here also
``/etc``. ``/run`` and ``/tmp`` begin empty each time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path

from lab.paths import PROJECT

#: Who services are answered as unless dom0 says otherwise.
DEFAULT_USER = "user"
_FOLDERS = (
    "etc", "run", "home/user", "root", "rw/config", "rw/home", "tmp", "var/tmp", "var/log", "var/lib", "var/cache",
    "proc", "sys", "dev", "mnt", "opt", "run/qubes", "run/qubes-rpc", "run/user/1000", "tmp/.X11-unix",
    *(f"rw/usrlocal/{entry}" for entry in ("bin", "etc/qubes-rpc", "etc/qubes/rpc-config", "share")),
)  # fmt: skip
_PASSWD = """root:x:0:0:root:/root:/bin/bash
user:x:1000:1000:user:/home/user:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
_GROUP = "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n"
_NSSWITCH = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\n"
_RUNUSER = "auth sufficient pam_rootok.so\naccount required pam_permit.so\nsession required pam_permit.so\n"
#: Taken from the host if it has them: they say how its programs find their libraries and each other.
_FROM_HOST = ("debian_version", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "services", "protocols")
#: What a VM that is only a folder runs of this machine's programs.
_HARMLESS = (
    "sh", "bash", "env", "cat", "cp", "mv", "rm", "mkdir", "ls", "stat", "touch", "echo", "printf", "head", "tail",
    "tee", "wc", "sort", "tr", "cut", "sed", "grep", "find", "id", "test", "true", "false", "sleep", "tar", "gzip",
    "sha256sum",
)  # fmt: skip
_TOP = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


def make(root: Path, name: str) -> None:
    """Make the folder *root* a VM called *name*, or ready for its next start."""
    for folder in ("run", "tmp"):
        shutil.rmtree(root / folder, ignore_errors=True)
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for folder in ("tmp", "tmp/.X11-unix"):
        (root / folder).chmod(0o1777)
    for folder in ("run/user/1000", "home/user"):
        (root / folder).chmod(0o700)
        with contextlib.suppress(OSError):  # a lab that not root has brought up knows no second user
            os.chown(root / folder, 1000, 1000)
    # All VMs share the machine's clock: to set a VM's must move its own offset and nothing else.
    (root / "run/vminterface").mkdir(exist_ok=True)
    (root / "run/vminterface/clock-offset").write_text("0\n")
    etc = root / "etc"
    if not (etc / "passwd").exists():
        _fill_etc(etc, name)
    for entry in _TOP:
        host = Path("/", entry)
        if host.is_symlink() and not (root / entry).is_symlink():
            (root / entry).symlink_to(os.readlink(host))
    for shared in shared_paths():
        (root / shared.relative_to("/")).mkdir(parents=True, exist_ok=True)


def _fill_etc(etc: Path, name: str) -> None:
    files = {
        "passwd": _PASSWD,
        "group": _GROUP,
        "nsswitch.conf": _NSSWITCH,
        "hostname": f"{name}\n",
        "hosts": f"127.0.0.1\tlocalhost\n127.0.1.1\t{name}\n::1\tlocalhost {name}\n",
        "resolv.conf": "",
        "timezone": "Etc/UTC\n",
        # By runuser, root becomes the session's user, as handlers and the agent do; nobody else may.
        "pam.d/runuser": _RUNUSER,
    }
    (etc / "pam.d").mkdir(exist_ok=True)
    for entry in _FROM_HOST:
        host = Path("/etc", entry)
        if host.is_dir():
            shutil.copytree(host, etc / entry, symlinks=True, dirs_exist_ok=True)
        elif host.exists():
            shutil.copyfile(host, etc / entry)
    (etc / "localtime").unlink(missing_ok=True)
    (etc / "localtime").symlink_to("../usr/share/zoneinfo/Etc/UTC")
    for file, text in files.items():
        (etc / file).write_text(text)


def shared_paths() -> list[Path]:
    """Return the host's folders that a VM sees, read-only, at the same place: programs, Python, this project."""
    desired = [Path("/usr"), *(Path("/", entry) for entry in _TOP if not Path("/", entry).is_symlink())]
    desired += [PROJECT, Path(sys.prefix), Path(sys.base_prefix), *map(Path, package_folders())]
    # An environment may be a link to where it is.
    desired += [path.resolve() for path in desired]
    shared: list[Path] = []
    for path in desired:
        if path.is_dir() and path != Path("/") and not any(path.is_relative_to(other) for other in shared):
            shared.append(path)
    return shared


def below_usr_local() -> list[Path]:
    """Return what of the host's ``/usr/local`` a VM needs, as this process runs from there; else that is its own."""
    local = Path("/usr/local")
    desired = [path for path in (PROJECT, Path(sys.prefix), Path(sys.base_prefix)) if path.is_relative_to(local)]
    if local in desired:
        return [path for path in local.iterdir() if path.name != "etc" and path.is_dir() and not path.is_symlink()]
    return desired


def package_folders() -> list[str]:
    """Return the folders of Python packages that this process uses besides the standard library."""
    return [entry for entry in sys.path if entry.endswith("-packages") and os.path.isabs(entry)]


def make_without_mounts(root: Path) -> Path:
    """Give a VM that is only a folder its own time zones; return the folder of all programs that may run for it.

    These are harmless ones, and an ``ip`` that knows of no links: the real one would speak of this machine's. Its
    memory is what this machine's was at its start.
    """
    (root / "proc").mkdir(exist_ok=True)
    shutil.copyfile("/proc/meminfo", root / "proc/meminfo")
    zones = Path("/usr/share/zoneinfo")
    if zones.is_dir() and not (root / zones.relative_to("/")).exists():
        shutil.copytree(zones, root / zones.relative_to("/"), symlinks=True)
    programs = root / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "ip").write_text("#!/bin/sh\necho '[]'\n")
    (programs / "ip").chmod(0o755)
    for name in _HARMLESS:
        found = shutil.which(name)
        if found and not (programs / name).is_symlink():
            (programs / name).symlink_to(found)
    local = root / "usr/local"
    if not local.is_symlink():
        local.symlink_to("../rw/usrlocal")
    # Looked for by handlers; started is this machine's.
    (root / "usr/bin").mkdir(exist_ok=True)
    (root / "usr/bin/bash").touch()
    # So the home is the same path for handlers, to whom the root is "/", and for what they start.
    (root / str(root.parent).lstrip("/")).mkdir(parents=True, exist_ok=True)
    if not (itself := root / str(root).lstrip("/")).is_symlink():
        itself.symlink_to(root)
    return programs
