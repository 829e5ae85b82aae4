"""An admin of a soak: pushes a random pillar of a few VMs every few seconds, with the product's own command."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.soak.pillars import random_pillar, rendered
from tests.soak.reports import Reports

#: The part of an admin's pushes that is told to end in the middle.
INTERRUPTED = 0.04
#: Seconds after which a push that has not ended hangs: that is reported, and it is killed.
HANGS = 120.0


class Admin:
    """Pushes as *name*, with what *chance* says, to *vms*; *folder* is where the pillars' file is."""

    def __init__(
        self,
        name: str,
        chance: random.Random,
        vms: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        reports: Reports,
        *,
        timeout: float,
        pause: float,
    ) -> None:
        self.name = name
        self._chance, self._vms, self._reports = chance, vms, reports
        self._pillar = folder / f"{name}.json"
        self._environment = environment
        self._timeout, self._pause = timeout, pause

    def work(self, stop: threading.Event) -> None:
        """Push until *stop* is set."""
        while not stop.wait(self._chance.uniform(0.2, 2 * self._pause)):
            some = self._chance.sample(self._vms, min(len(self._vms), self._chance.randint(1, 6)))
            cut = self._chance.uniform(0.2, 1.0) if self._chance.random() < INTERRUPTED else None
            self.push(random_pillar(self._chance, some, self._timeout), cut=cut)

    def push(self, pillar: dict[str, Any], *, cut: float | None = None) -> dict[str, Any]:
        """Push *pillar*, and have what it reports checked; *cut*: seconds after which it is told to end.

        Returns the reports by VM, none where it was cut or found no store.
        """
        self._pillar.write_text(rendered(pillar))
        command = [sys.executable, "-m", "vminterface", "push", "--pillar", str(self._pillar), "--json"]
        pipe = subprocess.PIPE
        begin = time.monotonic()
        with subprocess.Popen(
            command, env=self._environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        ) as process:
            try:
                output, complaint = process.communicate(timeout=cut or HANGS)
            except subprocess.TimeoutExpired:
                if cut is not None:
                    process.send_signal(self._chance.choice([signal.SIGTERM, signal.SIGINT]))
                    self._reports.count("pushes interrupted")
                else:
                    self._reports.wrong.append(f"{self.name}: a push did not end within {HANGS:g} s")
                    process.kill()
                try:
                    output, complaint = process.communicate(timeout=HANGS)
                except subprocess.TimeoutExpired:
                    self._reports.wrong.append(f"{self.name}: an interrupted push did not end within {HANGS:g} s")
                    process.kill()
                    output, complaint = process.communicate()
        end = time.monotonic()
        self._reports.count("pushes")
        desired = pillar["qubes"]["vms"]
        if (most := 3 * self._timeout + 15) < end - begin:
            self._reports.wrong.append(
                f"{self.name}: a push to {', '.join(desired)} took {end - begin:.1f} s (expected {most:g} s at most)"
            )
        # A signal while Python itself begins is not ours to hear.
        if "Traceback" in complaint and "vminterface" in complaint:
            self._reports.wrong.append(f"{self.name}: a push ended with a traceback: {complaint[-1500:]}")
        try:
            told = json.loads(output)
        except ValueError:
            told = {}
        if not set(desired) & set(told):
            self._reports.count("pushes without reports by VM")
            if cut is None and "error" not in told:
                self._reports.wrong.append(f"{self.name}: a push says {output[-300:]!r} {complaint[-300:]!r}")
            return {}
        self._reports.take(self.name, desired, told, begin, end)
        return dict(told)
