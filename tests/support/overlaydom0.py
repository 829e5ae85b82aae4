"""A dom0 to type commands in: the machine's own root, seen through an overlay that keeps what they write to itself.

Its processes and network are the machine's. All that was written is gone at the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.paths import PROJECT
from tests.support import namespace

#: $1: an empty folder; all further words: folders that are seen as they are.
_START = r"""
set -e
top=$1; shift
mount -t tmpfs tmpfs "$top"
mkdir "$top/upper" "$top/work" "$top/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" "$top/root"
cd "$top/root"
# Whatever this machine has of Salt's or of the product is not dom0's.
rm -rf srv/* etc/salt var/cache/salt usr/bin/vminterface usr/lib/vminterface usr/local/lib/vminterface etc/vminterface
for folder; do mkdir -p "./$folder"; mount --bind "$folder" "./$folder"; done
mount --rbind /proc proc
mount --rbind /dev dev
hostname dom0
exec chroot . sh -c 'echo ready; exec sleep infinity'
"""
_SECONDS = 120


class OverlayDom0:
    """The dom0; *folder* is an empty one, *environment* what its shell has on top of a usual one.

    Programs of this Python's environment (``salt-call`` …) are on its PATH, after those of *programs*.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], programs: Path | None = None) -> None:
        self._folder = folder
        path = [*([str(programs)] if programs else []), str(Path(sys.executable).parent), os.environ["PATH"]]
        self._environment = {"HOME": "/root", "LANG": "C.UTF-8", **environment, "PATH": ":".join(path)}
        self._process: subprocess.Popen[str] | None = None
        self._place = "/root"

    def __enter__(self) -> Self:
        root = self._folder / "dom0"
        root.mkdir()
        seen = [str(PROJECT), str(Path(sys.prefix).resolve()), str(self._folder)]
        self._process = namespace.start(
            [
                *("unshare", "--mount", "--uts", "--propagation", "private", "--fork", "--kill-child"),
                *("/bin/sh", "-c", _START, "dom0", str(root), *seen),
            ],
            "dom0",
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        assert self._process is not None
        namespace.end(self._process)

    def run(self, commands: str) -> str:
        """Run *commands* as root's shell does, in the folder where the last ones ended; return what they print.

        Raises AssertionError for a status other than 0.
        """
        assert self._process is not None
        first = namespace.inside(self._process)
        enter = ["nsenter", "--target", first, "--mount", "--uts", "--root", f"--wdns={self._place}"]
        # Where it ended is the last line of all.
        script = f"set -e\n{commands}\npwd"
        environment = [f"{name}={text}" for name, text in self._environment.items()]
        done = subprocess.run(
            [*enter, "env", "-i", *environment, "bash", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{commands}{done.stdout}"
        printed, _, self._place = done.stdout.rstrip("\n").rpartition("\n")
        return printed
