"""Reports to dom0 how much memory this VM uses: ``memory/meminfo``, and ``memory/swapinfo`` when it has changed.

Does what Qubes' ``meminfo-writer`` does, with its thresholds (linux-utils ``meminfo-writer.c``), while the service of
that name is on.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress

from vminterface.channel.store import KeyStore
from vminterface.errors import InvalidValue, KeyNotFound, PermissionDenied
from vminterface.regex import regex
from vminterface.values.memory import TEXT_LIMIT, Meminfo, render_kb
from vminterface.vm.machine.files import Files

MEMINFO, SWAPINFO = "memory/meminfo", "memory/swapinfo"
SERVICE = "/run/qubes-service/meminfo-writer"
#: kB that used memory must have changed by.
THRESHOLD = 30_000
#: Seconds between two readings: while memory moves; while it does not, where waking up is all that costs; and once it
#: has not for a minute.
PERIOD, QUIET_PERIOD, CALM_PERIOD = 0.1, 0.5, 2.0
#: Readings without movement after which memory counts as quiet, and as calm, and kB of a movement.
QUIET_AFTER, CALM_AFTER, MOVEMENT = 10, 130, THRESHOLD // 10
#: Seconds between two checks of whether the service is on, and to a new attempt where dom0 has not given us the key.
CHECK_SECONDS, REFUSED = 1.0, 5.0

_CURRENT_KB = "/sys/devices/system/xen_memory/xen_memory0/info/current_kb"
_RELEASE_FILES = ("/etc/qubes-release", "/usr/share/qubes/marker-vm")
_RELEASE = regex(r"(?:^|release |R)([0-9]{1,2})(?:\.[0-9]+)?\b", re.MULTILINE)


def wants_lines(machine: Files) -> bool:
    """Return whether this VM belongs to R2 or R3, whose dom0 reads six lines; later ones and Xen take a number."""
    for path in _RELEASE_FILES:
        for line in (machine.read_text(path, limit=TEXT_LIMIT) or "").splitlines():
            if not line.startswith("#") and (found := _RELEASE.search(line)):
                return int(found[1]) < 4
    return False


class MemoryReport:
    """What was read last and what was written last; dom0 learns of changes that matter to it, no others."""

    def __init__(self, machine: Files, *, threshold: int = THRESHOLD) -> None:
        self._machine = machine
        self._threshold = threshold
        self._lines = wants_lines(machine)
        self._meminfo, self._current = machine.path("/proc/meminfo"), machine.path(_CURRENT_KB)
        self._seen: int | None = None
        self._quiet = 0
        self._written: int | None = None
        self._swap: int | None = None

    def serve(self, store: KeyStore, stop: threading.Event, log: Callable[[str], None]) -> None:
        """Keep ``memory/meminfo`` up to date until *stop* is set. Raises ConnectionLost and its like."""
        told = ""
        self.forget()
        on, check_again = False, 0.0
        while not stop.is_set():
            if check_again <= 0.0:
                on, check_again = self._machine.exists(SERVICE), CHECK_SECONDS
            pause, reason = CHECK_SECONDS, ""
            try:
                if on:
                    pause = self.step(store)
                else:
                    self.forget()
            except (PermissionDenied, KeyNotFound):
                pause, reason = REFUSED, f"memory: dom0 did not create the key {MEMINFO}"
                self.forget()
            except InvalidValue as error:
                reason = f"memory: not reported: {error}"
            if reason and reason != told:
                log(reason)
            told = reason
            check_again -= pause
            stop.wait(pause)

    def forget(self) -> None:
        """Let the next reading count as the first."""
        self._written = self._swap = self._seen = None

    def step(self, store: KeyStore) -> float:
        """Read once, write what dom0 has to know, and return the seconds until the next reading.

        Raises InvalidValue for numbers that do not fit together (they are not written), and the store's errors.
        """
        now = self.measure()
        if self._is_due(now):
            store.write(MEMINFO, (now.render() if self._lines else render_kb(now.used)).encode())
            self._written = now.used
        if now.swap_used != self._swap:
            # Younger than the other key: a dom0 that has not made it does without.
            with suppress(PermissionDenied, KeyNotFound):
                store.write(SWAPINFO, render_kb(now.swap_used).encode())
            self._swap = now.swap_used
        moved = self._seen is None or abs(now.used - self._seen) >= MOVEMENT
        self._seen = now.used if moved else self._seen
        self._quiet = 0 if moved else self._quiet + 1
        if self._quiet < QUIET_AFTER:
            return PERIOD
        return QUIET_PERIOD if self._quiet < CALM_AFTER else CALM_PERIOD

    def measure(self) -> Meminfo:
        """Return the kernel's numbers, of the total that Xen has given to this VM now. Raises InvalidValue."""
        before = self._xen_total()
        for _ in range(10):
            found = Meminfo.parse(_text_of(self._meminfo))
            after = self._xen_total()
            if after == before:
                break
            before = after
        return found.of_total(after) if after else found

    def _is_due(self, now: Meminfo) -> bool:
        if self._written is None:
            return True
        change = now.used - self._written
        # Integer arithmetic as in the C program: about 77 % of the total.
        tight = now.used // 10 > (now.total + 12) // 13
        return abs(change) > self._threshold or (tight and change > self._threshold // 2)

    def _xen_total(self) -> int:
        """kB that Xen has given to this VM; 0 where its kernel does not report it."""
        text = _text_of(self._current).strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else 0


def _text_of(place: str) -> str:
    """Return what a file of the kernel says, "" if there is none. Without Machine's checks: read ten times a second."""
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, TEXT_LIMIT).decode("ascii", "replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)
