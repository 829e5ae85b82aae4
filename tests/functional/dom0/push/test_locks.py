"""The locks of VMs: threads and programs exclude each other, and a lock ends with its process, on the real kernel."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push import locks as locks_module
from vminterface.dom0.push.locks import VMLocks
from vminterface.dom0.push.push import diff, push
from vminterface.errors import ConnectionLost, DeadlineExceeded, LockUnavailable

LIBRARY = str(Path(locks_module.__file__).parents[3])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMINTERFACE_LOCK_DIR", str(tmp_path / "locks"))
    return tmp_path / "locks"


def test_a_vm_is_one_programs_at_a_time_and_another_vm_is_free(folder: Path) -> None:
    with VMLocks() as one, VMLocks() as other:
        assert one.take("work")
        assert one.take("work")
        assert not other.take("work")
        assert other.take("personal")
        one.release("work")
        assert other.take("work")


def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_no_lock(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with VMLocks() as one:
        assert one.take("work")
        with monkeypatch.context() as disk:
            disk.setattr(os, "pwrite", full)
            with pytest.raises(LockUnavailable, match=r"/vms\.lock: cannot be written: No space left on device$"):
                one.take("personal")
            one.release("work")
    with VMLocks() as other:
        assert other.take("work")
        assert other.take("personal")


def test_what_is_closed_is_released(folder: Path) -> None:
    with VMLocks() as one:
        assert one.take("work")
    with VMLocks() as other:
        assert other.take("work")


def test_the_lock_of_a_program_that_was_killed_is_free(folder: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", "from vminterface.dom0.push.locks import VMLocks as L; l = L(); print(l.take('work'), "
         "flush=True); input()"],
        env={**os.environ, "PYTHONPATH": LIBRARY}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert program.stdout is not None
    assert program.stdout.readline() == b"True\n"
    with VMLocks() as locks:
        assert not locks.take("work")
        assert f"process {program.pid} " in str(locks.held("work", 1))
        program.kill()
        program.communicate()
        assert locks.take("work")


def test_who_waits_in_vain_is_told_by_whom(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/vminterface", "watch", "--pillar", "/srv/p\x1b.yaml"])
    with VMLocks() as one, VMLocks() as other:
        # The hour may be another one in between.
        hours = {time.strftime("%Y-%m-%dT%H:")}
        one.take("work")
        hours.add(time.strftime("%Y-%m-%dT%H:"))
        with pytest.raises(DeadlineExceeded) as raised:
            other.take_all(["personal", "work"], Deadline.after(0.1), threading.Event())
    holder = f"process {os.getpid()} (vminterface watch --pillar /srv/p\\x1b.yaml), since "
    assert any(holder + hour in str(raised.value) for hour in hours)


def test_many_locks_take_no_descriptors(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        with VMLocks() as locks:
            assert all(locks.take(f"vm{number}") for number in range(300))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_those_who_want_many_vms_in_any_order_do_not_wait_for_each_other_for_ever(folder: Path) -> None:
    vms = [f"vm{number}" for number in range(8)]
    rounds = []

    def go(order: Any) -> None:
        for _ in range(20):
            with VMLocks() as locks:
                locks.take_all(order, Deadline.after(20), threading.Event())
                rounds.append(order)

    threads = [threading.Thread(target=go, args=(order,)) for order in (vms, vms[::-1], vms[::2] + vms[1::2])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rounds) == 60


def test_who_waits_gets_its_turn_between_those_of_a_program_that_comes_again_and_again(folder: Path) -> None:
    rounds, there = 0, threading.Event()

    def again_and_again() -> None:
        nonlocal rounds
        while not there.is_set() and rounds < 500:
            with VMLocks() as locks:
                locks.take_all(["work"], Deadline.after(20), threading.Event())
                time.sleep(0.01)
                rounds += 1

    thread = threading.Thread(target=again_and_again)
    thread.start()
    while not rounds:
        time.sleep(0.001)
    before = rounds
    with VMLocks() as locks:
        locks.take_all(["work"], Deadline.after(20), threading.Event())
        waited = rounds - before
        there.set()
    thread.join()
    assert waited <= 20


def test_who_gives_up_is_no_longer_the_next(folder: Path) -> None:
    with VMLocks() as one, VMLocks() as other, VMLocks() as third:
        assert one.take("work")
        assert not other.take("work")
        one.release("work")
        assert not third.take("work")
        other.give_up("work")
        assert third.take("work")


def test_programs_that_add_vms_at_the_same_time_agree_on_their_places(folder: Path) -> None:
    vms = [f"vm{number}" for number in range(40)]
    places = []

    def go(order: Any) -> None:
        with VMLocks() as locks:
            places.append({vm: locks._line(vm) for vm in order})

    threads = [threading.Thread(target=go, args=(order,)) for order in (vms, vms[::-1], vms[20:] + vms[:20])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert places[0] == places[1] == places[2]
    assert len(set(places[0].values())) == 40


@pytest.mark.parametrize("name", ["a b", "\x1b[2J", "é", "x" * 300, "..", "a/b"])
def test_a_domain_of_any_name_has_a_lock(folder: Path, name: str) -> None:
    with VMLocks() as one, VMLocks() as other:
        assert one.take(name)
        assert not other.take(name)
        assert other.take("work")
    assert sorted(path.name for path in folder.iterdir()) == ["vms.lock"]


def test_the_file_is_open_to_no_other_user(folder: Path) -> None:
    with VMLocks() as locks:
        assert os.stat(locks.path).st_mode & 0o007 == 0


@pytest.mark.parametrize("kind", ["no folder", "a link", "a folder", "too large"])
def test_a_file_that_cannot_be_used_is_one_sentence_and_nothing_is_written(folder: Path, kind: str) -> None:
    file = folder / "vms.lock"
    if kind == "no folder":
        folder.write_text("")
    else:
        folder.mkdir()
        if kind == "a link":
            file.symlink_to(folder / "elsewhere")
        elif kind == "a folder":
            file.mkdir()
        else:
            with file.open("w") as made:
                made.truncate(1 << 30)
    with Targets(qubesdb_folder=str(folder)) as targets, pytest.raises(LockUnavailable) as raised:
        push([VMSettings.parse("work", {"timezone": "UTC"})], targets)
    assert str(raised.value).startswith(f"{file}: ")
    assert "\n" not in str(raised.value)
    assert not (folder / "elsewhere").exists()


def test_a_user_who_may_not_lock_is_told_who_may() -> None:
    """In a folder that any user can reach, where the file is root's."""
    reader, writer = os.pipe()
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        with VMLocks(place) as locks:
            path = locks.path
        child = os.fork()
        if not child:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            try:
                VMLocks(place)
            except LockUnavailable as error:
                os.write(writer, str(error).encode())
            os._exit(0)
        os.waitpid(child, 0)
    os.close(writer)
    with open(reader) as said:
        assert said.read() == (
            f"{path}: Permission denied: this file keeps two programs from writing to a VM at the same time (expected"
            f" to"
            " run as root, or in group qubes after root's first push; VMINTERFACE_LOCK_DIR sets another folder)"
        )


def test_a_fork_of_who_has_a_lock_does_not_keep_it(folder: Path) -> None:
    with VMLocks() as locks:
        assert locks.take("work")
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
        os.close(reader)
    with VMLocks() as other:
        assert other.take("work")
    os.close(writer)
    os.waitpid(child, 0)


def test_looking_needs_no_lock(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_text("")
    monkeypatch.setenv("XENSTORED_PATH", str(tmp_path / "nothing"))
    with Targets() as targets, pytest.raises(ConnectionLost, match="nothing"):
        diff([VMSettings.parse("work", {"timezone": "UTC"})], targets)
