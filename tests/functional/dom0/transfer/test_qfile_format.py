"""Our qfile streams against a second reading of the format, in both directions, on random trees of files."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from tests.support import qfileformat, seeds
from tests.support.qfileformat import Member
from vminterface.dom0.transfer.send import Sender
from vminterface.dom0.transfer.unpack import Arrival, Limits
from vminterface.vm.handlers.files.receive import Terms, serve
from vminterface.wire.qfile_result import Refused, Result, check_result

TREES = 60


def received(place: Path, stream: bytes) -> bytes:
    """Let a VM's receiver take *stream* into *place*; return its reply."""
    reader, writer = os.pipe()
    reply, answer = os.pipe()
    target = os.open(place, os.O_RDONLY)
    thread = threading.Thread(target=serve, args=(reader, answer, target, Terms(sync=False)))
    thread.start()
    with open(writer, "wb") as pipe:
        pipe.write(stream)
    thread.join(20)
    os.close(answer)
    with open(reply, "rb") as pipe:
        said = pipe.read()
    os.close(target)
    return said


@pytest.mark.fuzz
def test_what_we_send_means_to_another_reader_what_is_on_the_disk(tmp_path: Path) -> None:
    chance = seeds.chance("what we send")
    for number in range(TREES):
        top = tmp_path / str(number)
        top.mkdir()
        qfileformat.make(top, qfileformat.random_members(chance, b"top"))
        sender = Sender([top / "top"])
        stream = b"".join(sender.chunks())
        told = qfileformat.read(stream)
        kept = qfileformat.last_of_each(told)
        there = qfileformat.on_disk(top, b"top")
        # A link's own times are the format's only that is not on the disk afterwards.
        assert {path: _comparable(one) for path, one in kept.items()} == {
            path: _comparable(one) for path, one in there.items()
        }, seeds.replay()
        assert sender.crc == qfileformat.checksum(stream), seeds.replay()
        for path in (path for path, one in there.items() if stat.S_ISDIR(one.mode)):
            assert sum(one.path == path for one in told) == 2, f"{path!r}, {seeds.replay()}"


@pytest.mark.fuzz
def test_what_another_writer_sends_is_on_the_vms_disk_afterwards(tmp_path: Path) -> None:
    chance = seeds.chance("what another writer sends")
    for number in range(TREES):
        place = tmp_path / str(number)
        place.mkdir()
        members = qfileformat.random_members(chance, b"top")
        stream = qfileformat.write(members)
        reply = received(place, stream)
        assert qfileformat.read_result(reply) == (0, qfileformat.checksum(stream), b"top"), seeds.replay()
        assert _disk(place) == _kept(members), seeds.replay()


@pytest.mark.fuzz
def test_what_another_writer_sends_is_in_dom0_afterwards(tmp_path: Path) -> None:
    chance = seeds.chance("what another writer sends to dom0")
    for number in range(TREES):
        place = tmp_path / str(number)
        # dom0 takes no links.
        members = [one for one in qfileformat.random_members(chance, b"top") if not stat.S_ISLNK(one.mode)]
        stream = qfileformat.write(members)
        with Arrival(str(place), Limits()) as arrival:
            cut = chance.randrange(len(stream))
            for piece in (stream[:cut], stream[cut:]):
                arrival.write(piece)
            arrival.put("it")
        assert {path: one.data for path, one in qfileformat.on_disk(place, b"top").items()} == {
            path: one.data for path, one in qfileformat.last_of_each(members).items()
        }, seeds.replay()


def test_results_are_the_same_bytes_to_both() -> None:
    chance = seeds.chance("results")
    for _ in range(500):
        code, crc = chance.choice([0, 2, 17, 31415926]), chance.randrange(1 << 32)
        name = chance.randbytes(chance.randrange(40))
        assert Result(code, crc, name).render() == qfileformat.write_result(code, crc, name), seeds.replay()
        reply = Result.parse(qfileformat.write_result(code, crc, name))
        assert (reply.code, reply.crc, reply.name) == (code, crc, name), seeds.replay()
        if code:
            with pytest.raises(Refused):
                check_result(reply, crc)
        else:
            check_result(reply, crc)


def _comparable(one: Member) -> tuple[int, bytes, int]:
    is_link = stat.S_ISLNK(one.mode)
    return (stat.S_IFLNK if is_link else one.mode, one.data, 0 if is_link else one.mtime_ns)


def _disk(place: Path) -> dict[bytes, tuple[int, bytes, int]]:
    return {path: _comparable(one) for path, one in qfileformat.on_disk(place, b"top").items()}


def _kept(members: list[Member]) -> dict[bytes, tuple[int, bytes, int]]:
    return {path: _comparable(one) for path, one in qfileformat.last_of_each(members).items()}
