"""The watcher gives a VM its monitors at each start, once the session of its user is up, and with another pillar."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.xenstored import fakexen
from tests.support.dom0 import Dom0
from tests.support.rpcstandin import StandIn
from tests.support.xrandr import fake_xrandr
from vminterface.channel.qrexec.client import Qrexec
from vminterface.dom0.desired.settings import parse_pillar
from vminterface.dom0.push.watch import sessions
from vminterface.dom0.push.watch.watcher import PillarFile, Watcher
from vminterface.dom0.services import monitors, session

pytestmark = pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing())

ONE = [{"width": 1280, "height": 800, "x": 0, "y": 0}]
TWO = [{"width": 1920, "height": 1080, "x": 0, "y": 0}, {"width": 800, "height": 600, "x": 1920, "y": 0}]
ZONE = "Europe/Warsaw"
WORK: dict[str, object] = {"timezone": ZONE, "monitors": ONE, "timeout": 30, "confirm": False}


@pytest.fixture
def dom0(tmp_path: Path, vms: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dom0]:
    monkeypatch.setenv("VMINTERFACE_QREXEC", vms.client)
    monkeypatch.setattr(sessions, "PAUSE", 0.1)
    monkeypatch.setattr(sessions, "FIRST_PAUSE", 0.1)
    vms.machine("work")
    fake_xrandr(vms, "work")
    with Dom0(tmp_path / "x") as host:
        yield host


@contextmanager
def watching(dom0: Dom0, file: Path, work: dict[str, object]) -> Iterator[list[str]]:
    """A watcher at work; what it says is what the block gets."""
    write(file, work)
    log: list[str] = []
    stop = threading.Event()
    pillar = PillarFile(str(file), lambda: parse_pillar(json.loads(file.read_text())))
    thread = threading.Thread(target=Watcher(pillar, dom0.targets, log.append).run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield log
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive(), log


def write(file: Path, work: dict[str, object]) -> None:
    other = file.with_suffix(".new")
    other.write_text(json.dumps({"qubes": {"vms": {"work": work}}}))
    other.rename(file)


def soon(condition: Callable[[], object], seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not within the time"
        time.sleep(0.02)


def shown(vms: StandIn) -> list[dict[str, int]]:
    return monitors.as_mappings(monitors.of_vm(Qrexec(vms.client), "work").layout)


def gives(log: list[str]) -> Callable[[], bool]:
    return lambda: "work: monitors set" in log


def test_a_vm_that_starts_has_its_keys_at_once_and_its_monitors_with_its_session(
    dom0: Any, vms: Any, tmp_path: Any
) -> None:
    waiting = vms.folder / "waiting"
    (vms.folder / "vms/work" / session.SERVICE).unlink()
    vms.handler("work", session.SERVICE, f"touch {waiting}; until [ -e {vms.folder}/up ]; do sleep 0.02; done")
    with watching(dom0, tmp_path / "pillar.json", WORK) as log:
        dom0.start_vm("work")
        soon(lambda: dom0.read("work", "qubes-timezone") == ZONE)
        soon(waiting.exists)
        assert monitors.SERVICE not in vms.ran()
        (vms.folder / "up").touch()
        soon(gives(log))
        assert shown(vms) == ONE
        log.clear()
        # A VM that has started again has an X server that knows nothing.
        dom0.stop_vm("work")
        (vms.folder / "vms/work.root/usr/local/bin/xrandr:0.json").unlink()
        dom0.start_vm("work")
        soon(gives(log))
        assert shown(vms) == ONE


def test_another_pillar_reaches_a_vm_that_runs(dom0: Any, vms: Any, tmp_path: Any) -> None:
    file = tmp_path / "pillar.json"
    dom0.start_vm("work")
    with watching(dom0, file, WORK) as log:
        soon(gives(log))
        log.clear()
        write(file, {**WORK, "monitors": TWO})
        soon(gives(log))
    assert shown(vms) == TWO


def test_a_vm_that_fails_is_tried_again(dom0: Any, vms: Any, tmp_path: Any) -> None:
    service = vms.folder / "vms/work" / monitors.SERVICE
    real, tried = service.rename(service.with_name("real")), vms.folder / "tried"
    service.write_text(f"#!/bin/sh\n[ -e {tried} ] && exec {real}\ntouch {tried}; echo not yet >&2; exit 1\n")
    service.chmod(0o755)
    dom0.start_vm("work")
    with watching(dom0, tmp_path / "pillar.json", WORK) as log:
        soon(gives(log))
    assert "work: monitors: qubes.SetMonitorLayout in work: exit status 1: not yet; next attempt in 0.1 s" in log


def test_no_service_is_called_in_a_vm_without_monitors(dom0: Any, vms: Any, tmp_path: Any) -> None:
    dom0.start_vm("work")
    with watching(dom0, tmp_path / "pillar.json", {"timezone": ZONE, "confirm": False}) as log:
        soon(lambda: any(line.startswith("work: timezone set") for line in log))
    assert vms.ran() == []


def test_a_session_that_never_comes_up_does_not_keep_the_watcher(dom0: Any, vms: Any, tmp_path: Any) -> None:
    waiting = vms.folder / "waiting"
    (vms.folder / "vms/work" / session.SERVICE).unlink()
    vms.handler("work", session.SERVICE, f"touch {waiting}; exec sleep 1000")
    dom0.start_vm("work")
    with watching(dom0, tmp_path / "pillar.json", WORK):
        soon(waiting.exists)
        ended = time.monotonic()
    assert time.monotonic() - ended < 8


def test_monitors_of_dom0_need_a_display_and_the_log_says_so_once(
    dom0: Any, vms: Any, tmp_path: Any, monkeypatch: Any
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    file = tmp_path / "pillar.json"
    dom0.start_vm("work")
    said = "work: monitors from_dom0 are not sent, as the watcher has no DISPLAY"
    with watching(dom0, file, {**WORK, "monitors": "from_dom0"}) as log:
        soon(lambda: said in log)
        write(file, {"monitors": "from_dom0", "timezone": "Asia/Tokyo", "confirm": False})
        soon(lambda: dom0.read("work", "qubes-timezone") == "Asia/Tokyo")
    assert log.count(said) == 1
    assert vms.ran() == []


def test_a_host_without_qrexec_is_named_and_the_keys_are_there(dom0: Any, tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.delenv("VMINTERFACE_QREXEC")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    dom0.start_vm("work")
    with watching(dom0, tmp_path / "pillar.json", WORK) as log:
        soon(lambda: any(line.startswith("work: its monitors are not sent: neither qrexec-client") for line in log))
        assert dom0.read("work", "qubes-timezone") == ZONE
