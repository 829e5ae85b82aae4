"""The stream of a file copy, both ends joined in memory, and everything that a receiver refuses."""

from __future__ import annotations

import errno
import stat
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import seeds
from tests.support.qfilestream import END, TIME_NS, cut, events, file, folder, link, raw
from vminterface.errors import LocalProtocolError
from vminterface.wire.qfile import Data, Directory, End, Entry, EntryEnd, EntryStart, Event, Packer, Symlink, Unpacker
from vminterface.wire.qfile_result import LEGAL_EOF, NAME_MAX_BYTES, Refused, Result

ONE_FILE = bytes.fromhex(
    "06000000a48100000300000000000000 039ebb5500000000039ebb5500000000 612e74787400 68690a" + "00" * 32
)


def refusal(data: bytes, *, allow_all_names: bool = False, ended: bool = False) -> Result:
    """Return the result for a stream that must be refused, fed whole and byte by byte."""
    results = []
    for pieces in ([data], [bytes([b]) for b in data]):
        unpacker = Unpacker(allow_all_names=allow_all_names)
        with pytest.raises(Refused) as caught:
            events(unpacker, [*pieces, b""] if ended else pieces)
        results.append(unpacker.result(caught.value))
    assert results[0].code == results[1].code
    assert results[0].name == results[1].name
    return results[0]


def start_of(found: Sequence[Event | bytes | None]) -> EntryStart:
    """The first of *found*, which must be a file's start."""
    assert isinstance(found[0], EntryStart)
    return found[0]


def test_one_file_has_exact_bytes() -> None:
    packer = Packer()
    data = packer.entry(Entry(b"a.txt", 0o100644, 3, TIME_NS, TIME_NS)) + packer.data(b"hi\n") + packer.end()
    assert data == ONE_FILE
    assert packer.crc == 0xB2802DF1


def test_one_file_is_received_and_answered_with_exact_bytes() -> None:
    unpacker = Unpacker()
    assert events(unpacker, [ONE_FILE]) == [
        EntryStart(b"a.txt", 0o100644, 3, TIME_NS, TIME_NS),
        b"hi\n",
        EntryEnd(),
        End(),
    ]
    assert unpacker.ended
    assert unpacker.result().render() == bytes.fromhex("0000000000000000f12d80b200000000 05000000612e747874")


def test_a_file_that_is_there_is_answered_with_the_checksum_of_its_header() -> None:
    unpacker = Unpacker()
    unpacker.receive_data(ONE_FILE)
    unpacker.next_event()
    reply = unpacker.result(Refused(errno.EEXIST, unpacker.last_name)).render()
    assert reply == bytes.fromhex("1100000000000000b81d60a000000000 05000000612e747874")


def test_an_empty_transfer_is_answered_with_an_empty_name() -> None:
    unpacker = Unpacker()
    assert events(unpacker, [END]) == [End()]
    assert unpacker.result().render() == bytes.fromhex("0000000000000000ad550a190000000000000000")


def test_a_missing_end_is_answered_with_eremoteio_and_the_checksum_of_the_rest() -> None:
    result = refusal(ONE_FILE[:41], ended=True)
    assert (result.code, result.crc) == (errno.EREMOTEIO, 0x94FCD836)


def test_an_end_inside_the_data_is_answered_with_the_code_for_it() -> None:
    result = refusal(ONE_FILE[:39], ended=True)
    assert (result.code, result.exit_status) == (LEGAL_EOF, 118)
    assert result.render()[:4] == bytes.fromhex("765edf01")


@pytest.mark.parametrize("length", range(len(ONE_FILE)))
def test_a_stream_cut_anywhere_is_refused(length: int) -> None:
    inside_entry = 32 <= length < 41
    assert refusal(ONE_FILE[:length], ended=True).code == (LEGAL_EOF if inside_entry else errno.EREMOTEIO)


def test_a_name_without_its_nul_is_taken_too() -> None:
    unpacker = Unpacker()
    assert start_of(events(unpacker, [raw(b"ab", 0o100600, name_length=2)])).path == b"ab"


def test_the_fields_of_the_end_other_than_the_name_length_mean_nothing() -> None:
    assert events(Unpacker(), [bytes(4) + b"\xff" * 28]) == [End()]


def test_what_comes_after_the_end_is_not_read() -> None:
    unpacker = Unpacker()
    assert events(unpacker, [END + b"more", b"and more", b""]) == [End()]
    assert unpacker.crc == zlib.crc32(END)


def test_folders_come_twice_and_have_no_data_whatever_their_size_says() -> None:
    sent = raw(b"d", stat.S_IFDIR | 0o750, size=2**64 - 1)
    found = events(Unpacker(), [sent + file(b"d/f", b"x") + sent + END])
    assert found[0] == found[-2] == Directory(b"d", 0o040750, 0, TIME_NS, TIME_NS)


def test_a_link_comes_with_its_target() -> None:
    assert events(Unpacker(), [folder(b"d") + link(b"d/l", b"f")])[1:] == [Symlink(b"d/l", b"f")]


@pytest.mark.parametrize("size", [2**32 - 1, 2**32, 2**32 + 1, 2**40, 2**63 - 1])
def test_sizes_over_4_gib_are_kept_whole(size: int) -> None:
    header = Packer().entry(Entry(b"big", 0o100600, size, 0, 0))
    assert start_of(events(Unpacker(), [header])).size == size


def test_more_than_4_gib_go_through_both_ends_in_less_than_a_mebibyte() -> None:
    """Its content goes nowhere. A piece is larger than what may be held, so that no end can keep a copy of one."""
    size, piece = 2**32 + 5, memoryview(bytes(1 << 24))
    packer, unpacker, left = Packer(), Unpacker(), size
    tracemalloc.start()
    try:
        unpacker.receive_data(packer.entry(Entry(b"big", 0o100600, size, 0, 0)))
        assert start_of([unpacker.next_event()]).size == size
        while left:
            assert unpacker.next_event() is None
            unpacker.receive_data(packer.data(piece[:left]))
            data = unpacker.next_event()
            assert isinstance(data, Data)
            left -= len(data.chunk)
        assert unpacker.next_event() == EntryEnd()
        unpacker.receive_data(packer.end())
        assert unpacker.next_event() == End()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 1 << 20
    assert unpacker.crc == packer.crc


@pytest.mark.parametrize("name", [b"", b"../x", b"a/../../x", b"/etc/passwd", b"a\0b", b"./a", b"a//b", b"\x1b"])
@pytest.mark.parametrize("make", [file, folder, lambda name: link(name, b"x")])
def test_a_bad_name_is_refused_for_every_type(make: Callable[..., Any], name: bytes) -> None:
    result = refusal(make(name))
    assert (result.code, result.name) == (errno.EILSEQ, name)


@pytest.mark.parametrize(
    ("data", "code", "name"),
    [
        (raw(b"x", 0o100600, name_length=16384), errno.ENAMETOOLONG, None),
        (raw(b"x", 0o100600, name_length=2**32 - 1), errno.ENAMETOOLONG, None),
        (raw(b"x", 0o100600, size=2**63), errno.EDQUOT, b"x"),
        (raw(b"x", 0o100600, nanoseconds=1_000_000_000), errno.EINVAL, b"x"),
        (raw(b"x", 0o040700, nanoseconds=2**32 - 1), errno.EINVAL, b"x"),
        (raw(b"x", 0o600), errno.EINVAL, b"x"),
        (raw(b"x", stat.S_IFIFO | 0o600), errno.EINVAL, b"x"),
        (raw(b"x", stat.S_IFSOCK | 0o600), errno.EINVAL, b"x"),
        (raw(b"x", stat.S_IFCHR | 0o600), errno.EINVAL, b"x"),
        (raw(b"x", 0xFFFFFFFF), errno.EINVAL, b"x"),
        (raw(b"d/l", stat.S_IFLNK, size=4096), errno.ENAMETOOLONG, b"d/l"),
        (link(b"l", b"a"), errno.ENOLINK, b"a"),
        (link(b"d/l", b"../../x"), errno.ENOLINK, b"../../x"),
        (link(b"d/l", b"/x"), errno.ENOLINK, b"/x"),
        (link(b"d/l", b""), errno.ENOENT, b"d/l"),
        (link(b"d/l", b"\n"), errno.EILSEQ, b"\n"),
    ],
)
def test_refusals_have_their_codes(data: bytes, code: int, name: bytes | None) -> None:
    result = refusal(data)
    assert (result.code, result.name) == (code, name)


def test_allow_all_names_lifts_the_rule_on_characters_alone() -> None:
    assert start_of(events(Unpacker(allow_all_names=True), [file(b"\xff\n")])).path == b"\xff\n"
    assert refusal(file(b"../\xff"), allow_all_names=True).code == errno.EILSEQ


def test_an_end_inside_of_an_entry_names_it() -> None:
    assert refusal(ONE_FILE[:39], ended=True).name == b"a.txt"
    assert refusal(ONE_FILE[:41], ended=True).name == b"a.txt"


def test_allow_all_names_holds_for_targets_of_links_too() -> None:
    data = link(b"d/e/a", "\u202e".encode()) + END
    assert events(Unpacker(allow_all_names=True), [data])[0] == Symlink(b"d/e/a", "\u202e".encode())
    assert refusal(data).name == "\u202e".encode()


def test_data_is_sent_for_an_entry_alone() -> None:
    with pytest.raises(LocalProtocolError, match=r"1 bytes of data \(expected at most 0\)"):
        Packer().data(b"x")


def test_the_checksum_that_is_given_is_the_one_of_a_whole_piece() -> None:
    data = packed_file(3)
    unpacker = Unpacker()
    unpacker.receive_data(data[:-3])
    assert isinstance(unpacker.next_event(), EntryStart)
    assert unpacker.next_event() is None
    unpacker.receive_data(data[-3:], 77)
    unpacker.next_event()
    assert unpacker.crc == 77


def packed_file(size: int) -> bytes:
    """A file's part of a stream."""
    packer = Packer()
    return packer.entry(Entry(b"a", 0o100600, size, 0, 0)) + bytes(packer.data(bytes(size)))


def test_a_file_that_has_come_whole_is_given_in_one_step() -> None:
    unpacker = Unpacker()
    unpacker.receive_data(ONE_FILE)
    found = unpacker.next_file()
    assert found is not None
    assert (found.path, found.mode, bytes(found.content)) == (b"a.txt", 0o100644, b"hi\n")
    assert (found.atime_ns, found.mtime_ns) == (TIME_NS, TIME_NS)
    # As for one that is begun: the reply where there is such a file already.
    reply = unpacker.result(Refused(errno.EEXIST, unpacker.last_name)).render()
    assert reply == bytes.fromhex("1100000000000000b81d60a000000000 05000000612e747874")
    assert unpacker.next_file() is None
    assert unpacker.next_event() == End()
    assert unpacker.next_file() is None
    assert unpacker.crc == zlib.crc32(ONE_FILE)


def test_an_empty_file_at_the_end_of_the_data_is_followed_by_more() -> None:
    unpacker = Unpacker()
    for name in (b"a", b"b"):
        unpacker.receive_data(file(name))
        found = unpacker.next_file()
        assert found is not None
        assert (found.path, len(found.content)) == (name, 0)
    assert events(unpacker, [END]) == [End()]
    assert unpacker.crc == zlib.crc32(file(b"a") + file(b"b") + END)


@pytest.mark.parametrize(
    "data",
    [
        ONE_FILE[:31],
        ONE_FILE[:37],
        ONE_FILE[:40],
        END,
        folder(b"d"),
        file(b".."),
        file(b"a\n"),
        raw(b"a", 0o100600, nanoseconds=10**9),
        raw(b"a", 0o010600),
        raw(b"", 0o100600, name_length=0),
        raw(b"a" * NAME_MAX_BYTES, 0o100600),
        raw(b"a", 0o100600, size=2**63),
    ],
)
def test_what_is_not_a_good_and_whole_file_is_left_to_the_events(data: bytes) -> None:
    unpacker, plain = Unpacker(), Unpacker()
    for one in (unpacker, plain):
        one.receive_data(data)
    assert unpacker.next_file() is None
    outcomes: list[object] = []
    for one in (unpacker, plain):
        try:
            outcomes.append(one.next_event())
        except Refused as error:
            assert one.next_file() is None
            outcomes.append((error.code, error.name, str(error), one.crc))
    assert outcomes[0] == outcomes[1]


def test_a_refusal_is_final() -> None:
    unpacker = Unpacker()
    for piece in (file(b".."), file(b"a"), END):
        with pytest.raises(Refused):
            events(unpacker, [piece])


def test_data_is_a_view_and_not_a_copy() -> None:
    buffer = bytearray(file(b"a", b"x" * 1000))
    unpacker = Unpacker()
    unpacker.receive_data(buffer)
    unpacker.next_event()
    event = unpacker.next_event()
    assert isinstance(event, Data)
    assert event.chunk.obj is buffer


def test_data_is_not_fed_over_events_that_wait() -> None:
    unpacker = Unpacker()
    unpacker.receive_data(ONE_FILE)
    with pytest.raises(LocalProtocolError):
        unpacker.receive_data(b"x")


def test_the_packer_sends_only_what_was_promised() -> None:
    packer = Packer()
    packer.entry(Entry(b"a", 0o100600, 3, 0, 0))
    wrongs: list[Callable[[], object]] = [
        lambda: packer.data(b"1234"),
        packer.end,
        lambda: packer.entry(Entry(b"b", 0o100600, 0, 0, 0)),
    ]
    for wrong in wrongs:
        with pytest.raises(LocalProtocolError):
            wrong()
    packer.data(b"123")
    packer.end()
    with pytest.raises(LocalProtocolError):
        packer.end()


@pytest.mark.parametrize("content", [b"", b"content"])
@pytest.mark.parametrize("time", [-1, 5_000_000_007, 2**32 * 10**9])
def test_what_is_sent_as_a_whole_is_what_its_parts_are(content: bytes, time: int) -> None:
    parts, whole = Packer(), Packer()
    stream = parts.entry(Entry(b"a", 0o100640, len(content), time, time + 1)) + parts.data(content)
    assert (whole.whole(b"a", 0o100640, content, time, time + 1), whole.crc) == (stream, parts.crc)


def test_nothing_is_sent_as_a_whole_inside_of_an_entry_or_after_the_end() -> None:
    packer = Packer()
    packer.entry(Entry(b"a", 0o100600, 3, 0, 0))
    with pytest.raises(LocalProtocolError, match="3 bytes of the entry are still to send"):
        packer.whole(b"b", 0o100600, b"", 0, 0)
    packer.data(b"123")
    packer.end()
    with pytest.raises(LocalProtocolError, match="the stream has ended"):
        packer.whole(b"b", 0o100600, b"", 0, 0)


@pytest.mark.parametrize("entry", [(b"", 0), (b"a\0", 0), (b"a" * 16383, 0), (b"a", -1), (b"a", 2**63)])
def test_the_packer_refuses_what_the_format_cannot_carry(entry: tuple[bytes, int]) -> None:
    with pytest.raises(LocalProtocolError):
        Packer().entry(Entry(entry[0], 0o100600, entry[1], 0, 0))


@pytest.mark.parametrize("name", [b"", b"a\0", b"a" * 16383])
def test_the_packer_refuses_such_names_of_whole_files_too(name: bytes) -> None:
    packer = Packer()
    with pytest.raises(LocalProtocolError, match="a name has 1 to 16382 bytes without NUL"):
        packer.whole(name, 0o100600, b"content", 0, 0)
    assert packer.crc == 0


@pytest.mark.parametrize(
    ("time", "sent"), [(-1, 0), (0, 0), (2**32 * 10**9, 2**32 * 10**9 - 1), (1_000_000_001, 1_000_000_001)]
)
def test_times_that_the_format_has_not_become_the_nearest(time: int, sent: int) -> None:
    header = Packer().entry(Entry(b"a", 0o100600, 0, time, time))
    start = start_of(events(Unpacker(), [header]))
    assert (start.atime_ns, start.mtime_ns) == (sent, sent)


component = st.sampled_from(["a", "b c", "é", "漢", ".x", "-r"])
tree = st.recursive(
    st.binary(max_size=100) | st.sampled_from(["inside", "."]),
    lambda below: st.dictionaries(component, below, max_size=4),
    max_leaves=8,
)


def packed(packer: Packer, name: bytes, node: bytes | dict[str, Any] | str, depth: int = 1) -> tuple[Any, ...]:
    """Return the stream of *node* and the events that it must give: bytes are files, texts links, dicts folders."""
    if isinstance(node, dict):
        entry = Directory(name, 0o040755, 0, 5, 7)
        data, found = packer.entry(entry), [entry]
        for part, below in node.items():
            more, events_below = packed(packer, name + b"/" + part.encode(), below, depth + 1)
            data += more
            found += events_below
        return data + packer.entry(entry), [*found, entry]
    if isinstance(node, str) and depth > 1:
        target = node.encode()
        header = Entry(name, stat.S_IFLNK | 0o777, len(target), 0, 0)
        return packer.entry(header) + packer.data(target), [Symlink(name, target)]
    content = node.encode() if isinstance(node, str) else node
    start = EntryStart(name, 0o100640, len(content), 1, 2)
    return packer.entry(start) + packer.data(content), [start, *([content] if content else []), EntryEnd()]


@settings(max_examples=seeds.rounds(1000), deadline=None)
@given(tree, st.lists(st.integers(0, 2000), max_size=20))
def test_every_tree_comes_back_however_its_stream_is_cut(node: Any, places: Any) -> None:
    packer = Packer()
    data, expected = packed(packer, b"top", node)
    data += packer.end()
    for pieces in ([data], cut(data, places), cut(data, range(len(data)))):
        for whole_files in (False, True):
            unpacker = Unpacker()
            assert events(unpacker, pieces, whole_files=whole_files) == [*expected, End()]
            assert unpacker.crc == packer.crc == zlib.crc32(data)


@given(st.lists(st.binary(max_size=300), max_size=4), st.lists(st.integers(0, 1500), max_size=8))
def test_a_checksum_that_is_known_already_gives_the_same_one(contents: Any, places: Any) -> None:
    packer, data = Packer(), b""
    for number, content in enumerate(contents):
        data += packer.entry(Entry(b"%d" % number, 0o100600, len(content), 0, 0)) + packer.data(content)
    data += packer.end()
    unpacker, crc = Unpacker(), 0
    for piece in cut(data, places):
        crc = zlib.crc32(piece, crc)
        unpacker.receive_data(piece, crc)
        while unpacker.next_event() is not None:
            pass
    assert unpacker.ended
    assert unpacker.crc == packer.crc


@pytest.mark.fuzz
def test_random_streams_give_the_same_events_or_the_same_refusal_whole_and_split() -> None:
    chance = seeds.chance("streams of file copies")
    runs = seeds.rounds(100_000)
    base = folder(b"d") + file(b"d/f", b"content") + link(b"d/l", b"f") + folder(b"d") + file(b"g", b"") + END
    headers = [at for at in range(len(base) - 3) if base[at + 1 : at + 4] == b"\0\0\0"]
    refused = 0
    for _ in range(runs):
        data = bytearray(base)
        for _ in range(chance.randrange(4)):
            at = chance.choice(headers) if chance.random() < 0.3 else chance.randrange(len(data))
            data[at] = chance.choice((0, 1, 2, 4, 32, 46, 47, 127, 128, 255, chance.randrange(256)))
        del data[chance.randrange(len(data) * 3) :]
        outcomes: list[list[Event | bytes] | tuple[int, bytes | None]] = []
        for pieces in ([bytes(data)], cut(bytes(data), [chance.randrange(len(data) + 1) for _ in range(4)])):
            unpacker = Unpacker(allow_all_names=bool(len(data) & 1))
            try:
                outcomes.append(events(unpacker, [*(p for p in pieces if p), b""]))
            except Refused as fault:
                outcomes.append((fault.code, fault.name))
            assert len(unpacker._buffered) <= 16383
        assert outcomes[0] == outcomes[1]
        refused += len(outcomes[0]) == 2
    assert runs // 10 < refused < runs
