"""``make demo``: on R2, whose VMs are told their settings in the XenStore, and in short on R4: QubesDBs and a qubesd.

Every claim that is printed is checked; the exit status is 0 only if all of them were true.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.control import Lab
from lab.demo import page, reports
from lab.demo.calls import PICTURE, Calls
from lab.demo.checks import Broken, heading
from lab.demo.persistence import Persistence
from lab.demo.refusal import RECORDING
from lab.demo.settings import EXPECTED, Settings
from lab.dom0.saltdir import SaltDir
from lab.paths import LabPaths
from vminterface.dom0.fleet.fleet import Host
from vminterface.errors import VMInterfaceError


def _interrupted(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def demo(releases: Sequence[str] | None = None) -> int:
    """Run it on each of *releases*, by default R2 and in short R4; return the exit status."""
    began = time.monotonic()
    signal.signal(signal.SIGTERM, _interrupted)
    signal.signal(signal.SIGHUP, _interrupted)
    status, outcomes, left_out = 1, [], []
    hosts: list[Host] = []
    try:
        for picture in (
            PICTURE,
            RECORDING,
            page.PAGE,
            page.PICTURE,
        ):  # so that what is there in the end is what was seen
            Path(picture).unlink(missing_ok=True)
        for release, whole in [(release, True) for release in releases or ()] or [("R2", True), ("R4", False)]:
            outcome, lacking = _one(release, hosts, whole=whole)
            outcomes.append(outcome)
            left_out += lacking
        left_out += page.write(hosts)
        status = 0
    except (Broken, VMInterfaceError, OSError) as error:
        outcomes = [str(error)]
    except KeyboardInterrupt:
        status, outcomes = 130, ["the demo was interrupted"]
    word = "demo ok" if status == 0 else "demo FAILED"
    line = f"{word}: {'; '.join(outcomes)} ({time.monotonic() - began:.0f} s)"
    print(f"\n{line}", file=sys.stderr if status else sys.stdout)
    for one in dict.fromkeys(left_out):
        print(f"left out: {one}")
    return status


def _one(release: str, hosts: list[Host], *, whole: bool) -> tuple[str, list[str]]:
    """Run it on one release and clean up, whatever happens; return what was done and what was left out.

    How the host is in the end is added to *hosts*.
    """
    folder = Path(tempfile.mkdtemp(prefix="vmi-demo-"))
    lab = Lab(LabPaths.find(str(folder / "lab")))
    former = dict(os.environ)
    try:
        where = "dom0's XenStore" if release == "R2" else "a QubesDB for each VM, dom0's XenStore, qubesd"
        heading(f"{release}: {where}, and three VMs")
        told = lab.up(release=release)
        print(f"  {told['isolation']}")
        for vm, one in told["vms"].items():
            print(f"  {vm:<9} domain {one['domid']}, its agent: {one['agent']}")
        os.environ.update(lab.environment())
        salt = SaltDir(folder / "salt")
        settings = Settings(lab, salt, told, folder)
        settings.run(whole=whole)
        if release == "R4":
            Persistence(lab, salt, settings).run()
        calls = Calls(lab, salt, told, folder)
        calls.run(settings.own)
        reports.print_table(list(EXPECTED))
        hosts.append(page.host(f"dom0-{release}", salt, EXPECTED))
        refusal = ", one refusal reported and mended" if whole else ""
        outcome = f"{release}: {settings.changed} settings pushed to {len(EXPECTED)} VMs{refusal}"
        return outcome, settings.left_out + calls.left_out
    finally:
        os.environ.clear()
        os.environ.update(former)
        _in_peace(lambda: clean_up(lab, folder))


def clean_up(lab: Lab, folder: Path) -> None:
    """End the lab and remove the demo's folder."""
    try:
        lab.down()
    except VMInterfaceError as error:
        print(f"demo: cleaning up: {error}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)


def _in_peace(work: Callable[[], None]) -> None:
    """Do *work* without being interrupted: a second Ctrl-C must not leave anything behind."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    former = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        work()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
