"""The end of a demo: the hosts that it had, on one page to look at, and a picture of that page in a browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from lab.demo.checks import Broken, heading, require
from lab.dom0.saltdir import SaltDir
from lab.linux import processes
from vminterface.dom0.fleet import page
from vminterface.dom0.fleet.fleet import Fleet, Host
from vminterface.errors import printable

#: Where the page and its picture are left, in the current folder.
PAGE, PICTURE = "demo-vms.html", "demo-vms.png"
_BROWSER = "chromium"
_OPTIONS = (
    "--headless", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--hide-scrollbars", "--window-size=1280,1500",
)  # fmt: skip
_SECONDS = 60.0
#: The VM that somebody changes beside the pillar, and what to.
_DRIFTING, _ZONE = "personal", "Asia/Tokyo"


def host(name: str, salt: SaltDir, vms: Collection[str]) -> Host:
    """Set one VM's zone by hand and return how the host *name* is then, as its minion returns it to a master.

    Raises Broken, VMInterfaceError.
    """
    heading(f"Somebody sets the zone of {_DRIFTING} by hand (`salt-call qubes_vm.set`, `qubes_vm.summary`)")
    changes = salt.call("qubes_vm.set", _DRIFTING, f"timezone={_ZONE}")
    require("timezone" in changes, f"{_DRIFTING} has {_ZONE} now")
    found = Host.of_return(name, salt.call("qubes_vm.summary"))
    record = found.record
    if record is None:
        raise Broken(f"the summary of {name} cannot be read: {found.error}")
    require(set(record.vms) >= set(vms), "the summary has each VM of the host")
    drifted = [vm.name for vm in record.vms.values() if "timezone" in vm.drift]
    require(drifted == [_DRIFTING], f"and the zone of {_DRIFTING} as what differs from the pillar")
    return found


def write(hosts: Sequence[Host]) -> list[str]:
    """Write the page of *hosts* and its picture; return what was left out. Raises Broken, ProgramMissing, OSError."""
    heading("All of it on one page (`salt-run qubes_fleet.page`, `vminterface report --html`)")
    text = page.render(Fleet.of(time.time(), list(hosts)))
    Path(PAGE).write_text(text, encoding="ascii")
    require(all(f"<h3>{one.name}</h3>" in text for one in hosts), f"each host is there (saved as {PAGE})")
    if shutil.which(_BROWSER) is None:
        return [f"a picture of the page: {_BROWSER} is not installed (Debian package {_BROWSER})"]
    if why := _photograph(Path(PAGE).absolute(), Path(PICTURE).absolute()):
        return [f"a picture of the page: {why}"]
    require(Path(PICTURE).read_bytes().startswith(b"\x89PNG"), f"and so it looks in a browser (saved as {PICTURE})")
    return []


def _photograph(file: Path, picture: Path) -> str:
    """Have the browser make a picture of *file*; return why there is none, or empty text."""
    with tempfile.TemporaryDirectory(prefix="vmi-browser-", ignore_cleanup_errors=True) as profile:
        # As root it has no sandbox.
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        own = [*root, f"--user-data-dir={profile}", f"--screenshot={picture}", file.as_uri()]
        with processes.started(
            [_BROWSER, *_OPTIONS, *own], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, errors="replace",
        ) as process:  # fmt: skip
            try:
                _, output = process.communicate(timeout=_SECONDS)
            except subprocess.TimeoutExpired:
                output = f"no picture within {_SECONDS:g} s"
        processes.kill_group(process)
    if picture.exists():
        return ""
    return f"{_BROWSER}: {printable((output.strip().splitlines() or ['no picture'])[-1])}"
