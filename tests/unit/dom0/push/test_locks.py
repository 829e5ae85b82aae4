"""Who has a VM, who is the next, and what the table says of it: in a file in memory and in virtual time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.virtualtime import Clock
from vminterface.deadline import Deadline
from vminterface.dom0.push.locks import VMLocks
from vminterface.errors import DeadlineExceeded, Interrupted, LockUnavailable

LINE = 256


class Disk:
    """What all programs share: the bytes of the file, and who has locked which of them."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ranges: dict[tuple[int, int], File] = {}
        self.full = False

    def lines(self) -> list[str]:
        text = self.data.decode("ascii")
        return [text[at : at + LINE].rstrip() for at in range(0, len(text), LINE)]


class File:
    """One program's open file; it is called as its program."""

    path = "/run/vms.lock"

    def __init__(self, disk: Disk, program: str) -> None:
        self._disk, self._program = disk, program
        self.closed = False

    def close(self) -> None:
        assert not self.closed
        self.closed = True

    def lock(self, start: int, length: int) -> bool:
        return self._disk.ranges.setdefault((start, length), self) is self

    def is_locked(self, start: int, length: int) -> bool:
        return self._disk.ranges.get((start, length), self) is not self

    def unlock(self, start: int, length: int) -> None:
        if self._disk.ranges.get((start, length)) is self:
            del self._disk.ranges[start, length]

    def size(self) -> int:
        return len(self._disk.data)

    def read(self, size: int, start: int) -> bytes:
        return bytes(self._disk.data[start : start + size])

    def write(self, data: bytes, start: int) -> None:
        if self._disk.full:
            raise LockUnavailable(f"{self.path}: cannot be written: No space left on device")
        assert start <= len(self._disk.data)
        self._disk.data[start : start + len(data)] = data

    def holder(self) -> str:
        return f"{len(self._program)} 2026-11-30T10:00:00 {self._program}"


@pytest.fixture
def disk() -> Disk:
    return Disk()


def program(disk: Disk, name: str = "salt-call state.apply") -> VMLocks:
    file: Any = File(disk, name)
    return VMLocks(file=file)


class TestTake:
    def test_a_vm_is_one_programs_at_a_time(self, disk: Disk) -> None:
        one, other = program(disk), program(disk)
        assert one.take("work")
        assert not other.take("work")
        assert other.take("mail")
        one.release("work")
        assert other.take("work")
        assert not one.take("work")

    def test_who_has_it_can_take_it_again(self, disk: Disk) -> None:
        one = program(disk)
        assert one.take("work")
        assert one.take("work")

    def test_who_asks_first_is_the_next(self, disk: Disk) -> None:
        one, second, third = program(disk), program(disk), program(disk)
        one.take("work")
        assert not second.take("work")
        assert not third.take("work")
        one.release("work")
        assert not third.take("work")
        assert not one.take("work")
        assert second.take("work")
        second.release("work")
        assert third.take("work")

    def test_who_gives_up_is_the_next_no_more(self, disk: Disk) -> None:
        one, second, third = program(disk), program(disk), program(disk)
        one.take("work")
        second.take("work")
        second.give_up("work")
        second.give_up("work")
        one.release("work")
        assert third.take("work")
        assert not second.take("work")

    def test_who_never_asked_gives_up_nothing(self, disk: Disk) -> None:
        one, second, third = program(disk), program(disk), program(disk)
        one.take("work")
        second.take("work")
        third.give_up("work")
        third.release("work")
        one.release("work")
        assert not third.take("work")

    def test_who_has_let_go_has_no_more_to_do_with_it(self, disk: Disk) -> None:
        one, other = program(disk, "one"), program(disk, "other")
        one.take("work")
        one.release("work")
        other.take("work")
        one.release("work")
        one.close()
        assert disk.lines()[1].endswith(" other")

    def test_others_see_whether_it_is_held(self, disk: Disk) -> None:
        one, other = program(disk), program(disk)
        assert not other.is_held("work")
        assert disk.lines() == []
        one.take("work")
        assert other.is_held("work")
        assert not one.is_held("work")
        assert not other.is_held("mail")
        # To look makes nobody the next.
        one.release("work")
        assert not other.is_held("work")
        assert one.take("work")

    def test_at_the_end_all_is_let_go(self, disk: Disk) -> None:
        one, other = program(disk), program(disk)
        other.take("mail")
        with one as same:
            assert same is one
            assert one.take("work")
            assert one.take("web")
            assert not one.take("mail")
        assert len(disk.ranges) == 1
        assert disk.lines()[2:] == ["work", "web"]
        one.close()
        other.close()
        assert disk.ranges == {}


class TestTable:
    def test_each_vm_has_a_line_that_names_the_holder_while_it_has_one(self, disk: Disk) -> None:
        one, other = program(disk), program(disk, "vminterface push")
        one.take("work")
        other.take("mail")
        assert disk.lines() == [
            "# VM, and while it is locked: process, since, program",
            "work 21 2026-11-30T10:00:00 salt-call state.apply",
            "mail 16 2026-11-30T10:00:00 vminterface push",
        ]
        assert [disk.data[at] for at in range(LINE - 1, 3 * LINE, LINE)] == [ord("\n")] * 3
        one.release("work")
        assert disk.lines()[1] == "work"
        other.release("mail")
        one.take("mail")
        assert len(disk.lines()) == 3

    def test_the_lock_of_a_vm_is_its_line_and_the_next_ones_place_its_last_byte(self, disk: Disk) -> None:
        one, other = program(disk), program(disk)
        one.take("work")
        assert list(disk.ranges) == [(LINE, LINE - 1)]
        other.take("work")
        assert list(disk.ranges) == [(LINE, LINE - 1), (2 * LINE - 1, 1)]

    @pytest.mark.parametrize(
        ("name", "word"),
        [("a b", r"a\x20b"), ("a\n", r"a\n"), ("x" * 300, "x" * 77 + "..."), ("\u00e9", r"\xe9")],
    )
    def test_any_name_is_one_word(self, disk: Disk, name: str, word: str) -> None:
        one, other = program(disk), program(disk)
        assert one.take(name)
        assert not other.take(name)
        one.release(name)
        assert disk.lines()[1] == word

    def test_a_long_command_is_cut_and_ends_its_line(self, disk: Disk) -> None:
        program(disk, "y" * 400).take("work")
        program(disk).take("mail")
        assert len(disk.data) == 3 * LINE
        assert disk.lines()[1].endswith("...")
        assert disk.lines()[2].startswith("mail ")

    def test_what_is_full_is_an_error_but_lets_go_all_the_same(self, disk: Disk) -> None:
        one, other = program(disk), program(disk)
        one.take("work")
        disk.full = True
        with pytest.raises(LockUnavailable):
            one.take("mail")
        one.release("work")
        assert disk.ranges == {}
        disk.full = False
        assert other.take("work")
        assert other.take("mail")

    def test_while_another_adds_a_vm_it_is_waited_for(self, disk: Disk, clock: Clock) -> None:
        one, other = program(disk), program(disk)
        file: Any = other._file
        assert file.lock(0, LINE - 1)
        with pytest.raises(LockUnavailable) as raised:
            one.take("work")
        assert str(raised.value) == "/run/vms.lock: locked for more than 5 s by a program that adds a VM to it"
        assert 5.0 <= clock.now <= 5.06
        file.unlock(0, LINE - 1)
        assert one.take("work")
        assert list(disk.ranges) == [(LINE, LINE - 1)]

    def test_a_vm_that_is_in_the_table_already_needs_no_such_wait(self, disk: Disk, clock: Clock) -> None:
        one, other, third = (program(disk) for _ in range(3))
        one.take("work")
        one.release("work")
        file: Any = other._file
        assert file.lock(0, LINE - 1)
        assert third.take("work")
        assert clock.now == 0.0

    def test_what_somebody_else_has_written_into_it_harms_nobody(self, disk: Disk) -> None:
        one, other = program(disk), program(disk)
        one.take("work")
        disk.data[LINE + 10 : LINE + 12] = b"\xff\xfe"
        assert other.take("mail")
        assert "process" in str(other.held("work", 1.0))

    def test_it_is_where_it_is_asked_for(self, tmp_path: Path) -> None:
        with VMLocks(str(tmp_path)) as one:
            assert one.path == f"{tmp_path}/vms.lock"
            assert one.take("work")

    def test_a_file_that_is_too_long_is_none_of_theirs(self, disk: Disk) -> None:
        disk.data = bytearray(b" " * (100_000 * LINE))
        assert not program(disk).is_held("work")
        disk.data += b" "
        with pytest.raises(LockUnavailable) as raised:
            program(disk).take("work")
        assert str(raised.value) == "/run/vms.lock: has 25600001 bytes (expected at most 100000 lines)"


class TestTakeAll:
    def take_all(self, locks: VMLocks, *vms: str, seconds: float = 1.0, stop: bool = False) -> None:
        event = threading.Event()
        if stop:
            event.set()
        locks.take_all(vms, Deadline.after(seconds), event)

    def test_each_is_taken_once_in_the_order_of_the_table(self, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
        one = program(disk)
        for vm in ("c", "a", "b"):
            one.take(vm)
            one.release(vm)
        taken: list[str] = []
        take: Callable[..., bool] = VMLocks.take

        def noted(locks: VMLocks, vm: str) -> bool:
            taken.append(vm)
            return take(locks, vm)

        monkeypatch.setattr(VMLocks, "take", noted)
        self.take_all(program(disk), "a", "b", "c", "a")
        assert taken == ["c", "a", "b"]

    def test_those_of_others_are_waited_for(self, disk: Disk, clock: Clock) -> None:
        one, other = program(disk, "vminterface push"), program(disk)
        one.take("work")
        with pytest.raises(DeadlineExceeded) as raised:
            self.take_all(other, "work")
        assert str(raised.value) == (
            "work: another program is writing to it and did not end within 1 s: "
            "process 16 (vminterface push), since 2026-11-30T10:00:00"
        )
        assert clock.now == pytest.approx(1.0)

    def test_the_pauses_grow_to_the_longest(self, disk: Disk, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            clock.sleep(seconds)

        monkeypatch.setattr("vminterface.runtime.sleep", sleep)
        program(disk).take("work")
        with pytest.raises(DeadlineExceeded):
            self.take_all(program(disk), "work", seconds=0.2)
        assert slept == pytest.approx([0.002, 0.004, 0.008, 0.016, 0.032, 0.05, 0.05, 0.038])

    def test_once_it_is_to_end_nobody_is_waited_for(self, disk: Disk, clock: Clock) -> None:
        program(disk).take("work")
        with pytest.raises(Interrupted) as raised:
            self.take_all(program(disk), "work", stop=True)
        assert str(raised.value) == "work: interrupted before anything was written"
        assert clock.now == 0.0

    def test_a_line_that_names_nobody_is_of_one_that_just_started(self, disk: Disk) -> None:
        one, other = program(disk), program(disk)
        one.take("work")
        disk.data[LINE : 2 * LINE] = f"{'work':<{LINE - 1}}\n".encode()
        assert str(other.held("work", 2.5)) == (
            "work: another program is writing to it and did not end within 2.5 s: a process that just started"
        )
