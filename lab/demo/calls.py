"""The second part of a demo: what a service call tells a VM, asked for by states, and a look at its screens."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab.control import Lab
from lab.demo import applications
from lab.demo.checks import Broken, heading, require
from lab.dom0.saltdir import SaltDir
from lab.guest import testcard
from lab.guest.session import XORG_PACKAGES
from vminterface.channel.qrexec.client import Qrexec
from vminterface.deadline import Deadline
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.services import clock, guigreeting, images, monitors
from vminterface.errors import VMInterfaceError, printable
from vminterface.values.image import Image
from vminterface.values.monitor import Monitor, MonitorLayout

VM = "work"
LAYOUT = [
    {"width": 1920, "height": 1080, "x": 0, "y": 0, "width_mm": 508, "height_mm": 285},
    {"width": 1280, "height": 800, "x": 1920, "y": 280},
]
#: The whole screen as the GUI connection begins; the monitors are others.
SCREEN = "1366x768"
PICTURE = "demo-monitors.png"
NOTE = "Sent by a state, received by a handler.\n"
STATES = "calls"
_WRONG_BY = -3600
_TOLERANCE = 5
#: Seconds for the VM to note what its GUI agent was told.
_GREETING = 5.0
_CARD = "/home/user/screens.png"


class Calls:
    """The steps, on the lab *lab* with the Salt of *salt*; *folder* is dom0's own."""

    def __init__(self, lab: Lab, salt: SaltDir, status: dict[str, Any], folder: Path) -> None:
        self.lab, self.salt = lab, salt
        self.root = Path(status["vms"][VM]["root"])
        self.note = folder / "note.txt"
        self.qrexec = Qrexec()
        self.layout: MonitorLayout | None = None
        #: What cannot be shown here, each with the reason.
        self.left_out: list[str] = []

    def run(self, own: dict[str, Any]) -> None:
        """Do it all; *own* is the pillar so far. Raises Broken, VMInterfaceError."""
        heading(f"The whole screen of {VM}, told as the GUI connection begins (`vminterface gui greet {VM}`)")
        self.greet()
        heading(f"Monitors, a file and the clock of {VM}, by service calls")
        self.start_screens()
        self.ask_for(own)
        code, report = self.salt.highstate("state.apply", STATES)
        for result in report:
            print(f"  {printable(result.comment, 160)}")
        require(code == 0 and all(r.ok is True for r in report), "the run succeeded")
        require(all(result.changes for result in report), "each thing that was asked for has changed")
        self.check()
        code, report = self.salt.highstate("state.apply", STATES)
        require(code == 0 and not any(r.changes for r in report), "the same again changes nothing")
        if self.layout is not None:
            self.draw_screens(self.layout)
            # Services of the user's session wait for one, and the screens bring it.
            applications.demonstrate(self.qrexec, VM, self.root)

    def greet(self) -> None:
        """Tell the VM's GUI agent how large the whole screen is, before any monitor is told."""
        with Targets() as targets:
            greeting = guigreeting.greet(targets, VM, guigreeting.parse_screen(SCREEN))
        screen = greeting.screen
        deadline = Deadline.after(_GREETING)
        while not (knows := self.screen()) and not deadline.passed:
            time.sleep(0.02)
        size = f"{screen.width} {screen.height}"
        require(
            knows == f"{size} xconf",
            f"{VM}: at initialisation its screen is {size.replace(' ', 'x')} (xconf, GUI protocol {greeting.version})",
        )

    def screen(self) -> str:
        """Return what the VM knows of its screen: width, height, and what told it; empty text for nothing."""
        places = [self.root / folder / "vminterface/screen" for folder in ("run", "run/user/1000")]
        notes = [place for place in places if place.exists()]
        return max(notes, key=lambda place: place.stat().st_mtime_ns).read_text().strip() if notes else ""

    def start_screens(self) -> None:
        """Let the VM have an X server with as many monitors as can be had here; in CI there has to be one."""
        try:
            kind = self.lab.ask("screens", VM)
        except VMInterfaceError as error:
            if os.environ.get("CI") == "true":
                raise Broken(f"there are no monitors: {error}") from None
            self.left_out.append(f"monitors: {error}")
            print(f"  (without {self.left_out[-1]})")
            return
        several = kind.startswith("Xorg")
        self.layout = MonitorLayout.from_mappings(LAYOUT if several else LAYOUT[:1])
        if not several:
            self.left_out.append(f"a second monitor: Xvfb has one (Debian packages {XORG_PACKAGES})")
        print(f"  {VM} has a display of its own: {kind}")

    def ask_for(self, own: dict[str, Any]) -> None:
        """Write pillar and states, and set the VM's clock wrong."""
        if self.layout is not None:
            own[VM]["monitors"] = LAYOUT[: len(self.layout)]
            # Its screens are another process of a machine that may be busy; what was asked for before needed less.
            own[VM]["timeout"] = 30
        self.salt.add_to_pillar({"qubes": {"vms": own}})
        self.note.write_text(NOTE)
        states: dict[str, Any] = {
            str(self.note): {"qubes_rpc.file_sent": [{"vm": VM}]},
            VM: {"qubes_rpc.clock_set": []},
        }
        if self.layout is not None:
            states["include"] = ["vminterface.monitors"]
        self.salt.add_states(STATES, states)
        (self.root / "run/vminterface/clock-offset").write_text(f"{_WRONG_BY * 1_000_000}\n")
        off = (clock.get_clock(self.qrexec, VM) - datetime.now(UTC)).total_seconds()
        require(abs(off - _WRONG_BY) < _TOLERANCE, f"the clock of {VM} is an hour slow at first")

    def check(self) -> None:
        """Hold what the VM has now against what was asked for."""
        arrived = self.root / "home/user/QubesIncoming/dom0" / self.note.name
        there = arrived.is_file() and arrived.read_text() == NOTE
        require(there, f"{VM}: ~/QubesIncoming/dom0/note.txt is dom0's file")
        off = (clock.get_clock(self.qrexec, VM) - datetime.now(UTC)).total_seconds()
        require(abs(off) < _TOLERANCE, f"{VM}: its clock is right to {_TOLERANCE} s")
        if self.layout is not None:
            has = monitors.of_vm(self.qrexec, VM)
            require(
                has.matches(self.layout),
                f"{VM}: its X server shows {monitors.shown(has.layout)}",
            )
            left, top, width, height = self.layout.bounding_box
            size = f"{left + width} {top + height}"
            require(
                self.screen() == f"{size} layout",
                f"{VM}: which overrides that of the initialisation: its screen is {size.replace(' ', 'x')} (layout)",
            )

    def draw_screens(self, layout: MonitorLayout) -> None:
        """Draw on the VM's monitors and fetch a picture of them."""
        heading(f"The screens of {VM} (`vminterface monitors {VM}`)")
        has = monitors.of_vm(self.qrexec, VM).layout
        assert has is not None
        print("  " + has.sketch().rstrip("\n").replace("\n", "\n  "))
        done = self.lab.run(VM, sys.executable, "-m", "lab.guest.testcard", _CARD)
        if done.returncode != 0:
            raise Broken(f"{VM}: nothing could be drawn: {printable(done.stderr.strip()[-300:])}")
        picture = images.picture(self.qrexec, VM, _CARD)
        images.save(picture, Path(PICTURE))
        _, _, width, height = layout.bounding_box
        require((picture.width, picture.height) == (width, height), f"its picture has {width}x{height} pixels")
        for number, monitor in enumerate(layout):
            place = f"{monitor.width}x{monitor.height}+{monitor.x}+{monitor.y}"
            require(_is_drawn(picture, monitor, number), f"monitor {number + 1} is seen there at {place}")
        require(_is_empty_elsewhere(picture, layout), "and nothing is seen where no monitor is")
        print(f"  saved as {PICTURE}")


def _colour(picture: Image, x: int, y: int) -> int:
    start = 4 * (y * picture.width + x)
    return int.from_bytes(picture.rgba[start : start + 3], "big")


def _is_drawn(picture: Image, monitor: Monitor, number: int) -> bool:
    """Whether all four corners of the card are there: the border's first pixel, the ground, and nothing less."""
    right, bottom = monitor.x + monitor.width - 1, monitor.y + monitor.height - 1
    corners = [(x, y) for x in (monitor.x, right) for y in (monitor.y, bottom)]
    inner = [(x, y) for x in (monitor.x + 20, right - 20) for y in (monitor.y + 20, bottom - 20)]
    return all(_colour(picture, *one) == testcard.WHITE for one in corners) and all(
        _colour(picture, *one) == testcard.ground(number) for one in inner
    )


def _is_empty_elsewhere(picture: Image, layout: MonitorLayout) -> bool:
    corners = [(x, y) for x in (0, picture.width - 1) for y in (0, picture.height - 1)]
    return all(
        _colour(picture, x, y) == testcard.NOTHING
        for x, y in corners
        if not any(m.x <= x < m.x + m.width and m.y <= y < m.y + m.height for m in layout)
    )
