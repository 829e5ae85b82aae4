"""Debian's packages as a folder: downloaded, unpacked, never installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from lab.xen import paths
from vminterface.errors import ProgramFailed

_PYTHON = f"python3.{sys.version_info.minor}"
#: Names as Debian 12 has them. What a program's libraries need of others is looked up in the whole folder.
NAMES = (
    "xen-hypervisor-4.17-amd64", "xen-utils-4.17", "xen-utils-common", "xenstore-utils", "libxenmisc4.17",
    "libxenstore4", "libxencall1", "libxendevicemodel1", "libxenevtchn1", "libxenforeignmemory1", "libxengnttab1",
    "libxenhypfs1",
    "libxentoolcore1", "libxentoollog1", "libyajl2", "libuuid1", "zlib1g", "liblzma5", "libzstd1", "libc6", "libgcc-s1",
    "busybox-static", "coreutils", f"{_PYTHON}-minimal", f"lib{_PYTHON}-minimal", f"lib{_PYTHON}-stdlib",
    "libexpat1", "libffi8", "libssl3", "libbz2-1.0", "libsqlite3-0", "libcrypt1", "tzdata",
    "iproute2", "libbpf1", "libbsd0", "libcap2", "libdb5.3", "libelf1", "libmnl0", "libselinux1", "libpcre2-8-0",
    "libmd0", "libtirpc3", "libxtables12", "libgssapi-krb5-2", "libkrb5-3", "libk5crypto3", "libkrb5support0",
    "libcom-err2",
    "libkeyutils1", "nftables", "libnftables1", "libedit2", "libgmp10", "libjansson4", "libnftnl11", "libtinfo6",
    "xserver-xorg-core", "xserver-xorg-video-dummy", "x11-xserver-utils", "x11-xkb-utils", "xkb-data", "libdbus-1-3",
    "libudev1", "libgcrypt20", "libunwind8", "libxcvt0", "libpciaccess0", "libdrm2", "libpixman-1-0", "libxfont2",
    "libxau6", "libsystemd0", "libxshmfence1", "libxdmcp6", "libaudit1", "libxrandr2", "libx11-6", "libxkbfile1",
    "libgpg-error0", "liblz4-1", "libcap-ng0", "libfreetype6", "libfontenc1", "libpng16-16", "libbrotli1", "libxext6",
    "libxrender1", "libxcb1", "util-linux", "libpam0g", "libpam-modules",
    "chrony", "libnettle8", "libgnutls30", "libseccomp2", "libp11-kit0", "libidn2-0", "libunistring2", "libtasn1-6",
    "libhogweed6",
)  # fmt: skip
_SECONDS = 600.0


def unpacked() -> Path:
    """Return a folder with the files of all packages, in their newest versions. Raises ProgramFailed."""
    try:
        return _cached()
    except ProgramFailed as first:
        # No package lists yet, as on many a new machine, or such that name versions which are not there any more.
        try:
            with paths.alone("lists"):
                _run("apt-get", "-qq", "update")
        except ProgramFailed as second:
            raise ProgramFailed(f"{first}; and to update Debian's package lists failed: {second}") from None
        return _cached()


def _cached() -> Path:
    known = _run("apt-cache", "show", "--no-all-versions", "linux-image-amd64", *NAMES)
    kernel = re.search(r"^Depends: .*?(linux-image-[^ ,]+-amd64)", known, re.MULTILINE)
    # Of packages that are installed something is known without any lists.
    lacking = {*NAMES} - {*re.findall(r"^Package: (.*)$", known, re.MULTILINE)}
    if f"{_PYTHON}-minimal" in lacking:
        raise ProgramFailed(
            f"Debian's package lists have no {_PYTHON}, on which this environment runs; expected Debian 12's Python"
        )
    if kernel is None or lacking:
        what = ", ".join(sorted(lacking)) or "the kernel of linux-image-amd64"
        raise ProgramFailed(f"Debian's package lists do not name {what}; expected those of Debian 12")
    desired = sorted(re.findall(r"^(?:Package|Version): .*$", known, re.MULTILINE))
    names = [*NAMES, kernel[1]]
    return paths.cached("packages", paths.mark(*desired), lambda folder: _unpack(names, folder)) / "root"


def _unpack(names: list[str], folder: Path) -> None:
    downloads = folder / "downloads"
    downloads.mkdir()
    try:
        _run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *names, folder=downloads)
    except ProgramFailed as error:
        raise ProgramFailed(
            f"Debian's packages, of which the Xen host is made, cannot be had from here: {error}"
        ) from None
    for package in sorted(downloads.iterdir()):
        _run("dpkg", "-x", str(package), str(folder / "root"))
        package.unlink()
    downloads.rmdir()
    # The packages bring no compiled modules, and to compile them at each start is slow in an emulated machine. Their
    # times are lost on the way, so that these cannot be compared.
    library = folder / "root/usr/lib" / _PYTHON
    _run(sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", str(folder / "root"),
         str(library))  # fmt: skip


def _run(*command: str, folder: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, "LC_ALL": "C"}, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProgramFailed(f"{command[0]}: {error}") from None
    if done.returncode:
        raise ProgramFailed(f"{command[0]} failed (status {done.returncode}): {done.stderr.strip()[-1000:]}")
    return done.stdout
