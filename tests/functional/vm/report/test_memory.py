"""``memory/meminfo`` in the real xenstored: written while the service is on, and not otherwise."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.xenstored.fakexen import RealXenstored
from tests.support.stores import GUEST, HOME, dom0, guest_home, xenstored  # noqa: F401
from vminterface.channel.xenstore.store import XenStore
from vminterface.vm.machine.machine import Machine
from vminterface.vm.report import memory
from vminterface.vm.report.memory import MemoryReport


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not so in time"
        time.sleep(0.01)


def use(root: Path, used: int) -> None:
    # Replaced in one piece, as the kernel's own file never is half a file.
    fresh = root / "proc/new"
    fresh.write_text(
        f"MemTotal: 1000000 kB\nMemFree: {1_000_000 - used} kB\nBuffers: 0 kB\nCached: 0 kB\n"
        "SwapTotal: 0 kB\nSwapFree: 0 kB\n"
    )
    fresh.rename(root / "proc/meminfo")


@pytest.mark.parametrize("may_write", ["memory", "two keys"])
def test_memory_is_told_while_the_service_is_on(
    tmp_path: Path,
    xenstored: RealXenstored,  # noqa: F811
    dom0: XenStore,  # noqa: F811
    guest_home: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    may_write: str,
) -> None:
    monkeypatch.setattr(memory, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(memory, "REFUSED", 0.1)
    root = tmp_path / "vm"
    (root / "proc").mkdir(parents=True)
    service = root / "run/qubes-service/meminfo-writer"
    service.parent.mkdir(parents=True)
    use(root, 210_000)
    key = f"{HOME}/memory/meminfo"
    dom0.remove(f"{HOME}/memory")
    stop = threading.Event()
    log: list[str] = []
    with XenStore.open(xenstored.socket(GUEST), window=16) as guest:
        thread = threading.Thread(target=MemoryReport(Machine(str(root))).serve, args=(guest, stop, log.append))
        thread.start()
        try:
            service.touch()
            until(lambda: len(log) == 1)
            assert log == ["memory: dom0 did not create the key memory/meminfo"]
            for name in ["memory"] if may_write == "memory" else ["memory/meminfo", "memory/swapinfo"]:
                dom0.write(f"{HOME}/{name}", b"")
                dom0.set_permissions(f"{HOME}/{name}", [f"n{GUEST}"])
            until(lambda: dom0.read_many([key])[0] == b"210000")
            until(lambda: dom0.read_many([f"{HOME}/memory/swapinfo"])[0] == b"0")
            use(root, 240_001)
            until(lambda: dom0.read(key) == b"240001")
            service.unlink()
            time.sleep(0.5)
            use(root, 500_000)
            time.sleep(0.5)
            assert dom0.read(key) == b"240001"
            service.touch()
            until(lambda: dom0.read(key) == b"500000")
            assert len(log) == 1
        finally:
            stop.set()
            thread.join(5)
        assert not thread.is_alive()
