"""The real oxenstored, Xen's other store daemon, on a machine without a hypervisor: dom0's connection alone.

What is real: the daemon and all that it says. Its paths are fixed, so it gets a ``/run`` of its own; domains cannot be
introduced to it, as it takes their pages by ways that ``fakexen.c`` does not stand for: dom0 writes their keys.
"""

from __future__ import annotations

import glob
import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.linux.namespaces import DIE_WITH_PARENT
from lab.xenstored import fakexen
from vminterface.channel.xenstore.store import XenStore
from vminterface.errors import VMInterfaceError

START_SECONDS = 10.0
#: Quotas are of guests, and dom0 stands for them here.
_CONFIGURATION = "pid-file = {root}/pid\npersistent = false\nquota-activate = false\n"


def find_oxenstored() -> Path | None:
    """Return the oxenstored of the newest Xen installed under ``/usr/lib``, None if there is none."""
    found = sorted(glob.glob("/usr/lib/xen-*/bin/oxenstored"))
    return Path(found[-1]) if found else None


def missing() -> str:
    """Say what this machine lacks to run it, "" if nothing."""
    if find_oxenstored() is None:
        return "no /usr/lib/xen-*/bin/oxenstored (Debian package xen-utils-4.17)"
    return fakexen.missing() or ("" if os.geteuid() == 0 else "not root, who alone has mount namespaces")


class Oxenstored:
    """oxenstored below the folder *root*. Use it in a ``with`` block."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.socket_path = str(root / "run/xenstored/socket")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        (self.root / "run/xenstored").mkdir(parents=True)
        (self.root / "dom0").mkdir()
        os.mkfifo(self.root / "evtchn")
        configuration = self.root / "oxenstored.conf"
        configuration.write_text(_CONFIGURATION.format(root=self.root))
        played = {"FAKEXEN": str(self.root), "LD_PRELOAD": str(fakexen.build_shim())}
        inside = f'mount --bind "{self.root}/run" /run && export LD_PRELOAD="$1" && shift && exec "$@"'
        self._process = subprocess.Popen(
            [
                *DIE_WITH_PARENT, "unshare", "-m", "sh", "-c", inside, "sh", played.pop("LD_PRELOAD"),
                str(find_oxenstored()), "--no-fork", "--no-domain-init", "--config-file", str(configuration),
            ],
            env={**os.environ, **played}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                with self.store() as store:
                    store.read("/")
                return self
            except VMInterfaceError:
                if self._process.poll() is not None or time.monotonic() > end:
                    self.stop()
                    raise
                time.sleep(0.01)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End it; may be called twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def store(self) -> XenStore:
        """A new connection of dom0."""
        return XenStore.open(self.socket_path)
