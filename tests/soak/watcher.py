"""The watcher of a soak: the product's own, whose pillar changes now and then, and which is started again at random."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.paths import PROJECT
from tests.soak.pillars import random_pillar, random_settings, rendered
from tests.soak.reports import Reports

#: Seconds within which it has to end once it is told to: it says 2, and the machine is busy.
END = 10.0
#: Seconds more than a push may take in which the watcher may log what came of it.
SLACK = 10.0
UNIT = PROJECT / "formulas/vminterface/files/vminterface-watch.service"


def unit_environment() -> dict[str, str]:
    """Return what the product's unit sets for the watcher."""
    lines = [line for line in UNIT.read_text().splitlines() if line.startswith("Environment=")]
    return dict(word.split("=", 1) for line in lines for word in line.removeprefix("Environment=").split())


class Watcher:
    """Runs ``vminterface watch`` on a pillar of all *vms* in *folder*."""

    def __init__(
        self,
        chance: random.Random,
        vms: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        reports: Reports,
        *,
        timeout: float,
    ) -> None:
        self._chance, self._vms, self._reports, self._timeout = chance, vms, reports, timeout
        self._environment = {**environment, **unit_environment()}
        self._file = folder / "watcher.json"
        self.log = folder / "watcher.log"
        self._pillar = random_pillar(chance, vms, timeout)
        self._versions: list[tuple[float, Mapping[str, Mapping[str, Any]]]] = []
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        #: Whether it has begun to work, and so hears signals.
        self._begun = False
        self._write()

    @property
    def pid(self) -> int | None:
        """Its process, while there is one."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it."""
        self._begun = False
        command = [sys.executable, "-m", "vminterface", "watch", "--pillar", str(self._file)]
        self._process = subprocess.Popen(
            command, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it with the signal *number*."""
        process, self._process = self._process, None
        if process is None:
            return
        expected = (0,) if self._begun else (0, -number, 128 + number)
        process.send_signal(number)
        try:
            status = process.wait(END)
        except subprocess.TimeoutExpired:
            self._reports.wrong.append(f"watcher: did not end within {END:g} s of {number.name}")
            process.kill()
            status = process.wait()
        if number == signal.SIGTERM and status not in expected:
            self._reports.wrong.append(f"watcher: ended with status {status} at SIGTERM (expected 0)")
        if self._reader is not None:
            self._reader.join(END)

    def check_alive(self) -> None:
        """Report, and start again, a watcher that has ended by itself."""
        if self._process is not None and (status := self._process.poll()) is not None:
            self._reports.wrong.append(f"watcher: ended by itself with status {status}")
            self.start()

    def change(self) -> None:
        """Change what the pillar says of a few VMs."""
        vms = dict(self._pillar["qubes"]["vms"])
        for vm in self._chance.sample(self._vms, min(len(self._vms), 4)):
            vms[vm] = random_settings(self._chance)
        self._pillar = {"qubes": {**self._pillar["qubes"], "vms": vms}}
        self._write()

    def _write(self) -> None:
        self._versions.append((time.monotonic(), self._pillar["qubes"]["vms"]))
        new = self._file.with_suffix(".new")
        new.write_text(rendered(self._pillar))
        new.rename(self._file)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with open(self.log, "a") as log, process.stderr as said:
            for line in said:
                now = time.monotonic()
                self._begun = True
                log.write(f"{now:.3f} {line}")
                log.flush()
                if "Traceback" in line or "unexpected" in line:
                    self._reports.wrong.append(f"watcher: {line.strip()}")
                self._reports.take_watcher_line(line, list(self._versions), now - 3 * self._timeout - SLACK, now)
