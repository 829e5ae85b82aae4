"""The other protocols: file copies, the GUI, qubesd's events, edited files, messages of qrexec, kernel's messages."""

from __future__ import annotations

import errno
import stat
import zlib
from typing import Any

from lab.qrexec import command as qrexec_command
from lab.qrexec import messages, policy
from lab.qubesd.errors import Unanswered
from lab.qubesd.server import Request
from tests.fuzz.pieces import Pieces, in_pieces
from tests.fuzz.target import Target, bytes_target, check_error, check_text
from tests.support.qfilestream import END, cut, events, file, folder, link, raw
from vminterface.errors import LocalProtocolError, RemoteProtocolError
from vminterface.wire import gui, openinvm
from vminterface.wire.adminevents import AdminEvent, EventParser
from vminterface.wire.crc32 import LARGE, crc32
from vminterface.wire.gui import AGENT, DAEMON, Connection, Message, Type, Version, XConf
from vminterface.wire.holes import BLOCK, written
from vminterface.wire.qfile import Directory, Entry, EntryStart, Packer, Symlink, Unpacker
from vminterface.wire.qfile_names import check_link, check_name, is_plain
from vminterface.wire.qfile_result import LEGAL_EOF, NAME_MAX_BYTES, Refused, Result, check_result

ONE_FILE = file(b"a.txt", b"hi\n") + END
TREE = (
    folder(b"d")
    + file(b"d/a", b"x" * 40)
    + link(b"d/l", b"a")
    + folder(b"d/e")
    + link(b"d/e/l", b"../a")
    + folder(b"d/e")
    + folder(b"d")
    + END
)
_SCREEN = XConf.of_screen(1920, 1080).render()
_HELLO = Version(1, 8).render()
_EVENT = b"1\0work\0domain-start\0start_guid\0True\0\0"


def _unpacked(data: bytes, places: list[int], allow: bool, whole_files: bool = False) -> tuple[list[Any], int, Any]:
    """Return the events of a stream cut at *places*, its checksum, and the refusal that ends it."""
    unpacker = Unpacker(allow_all_names=allow)
    found: list[Any] = []
    try:
        events(unpacker, (*cut(data, places), b""), found, whole_files=whole_files)
    except Refused as error:
        check_error(error)
        result = unpacker.result(error)
        assert Result.parse(result.render()) == result
        return found, 0, (error.code, error.name, str(error))
    assert Result.parse(unpacker.result().render()).crc == unpacker.crc
    return found, unpacker.crc, unpacker.ended


def _qfile(data: bytes) -> tuple[list[Any], int, Any]:
    allow, at, data = bool(data[:1] and data[0] & 1), (data[1] if len(data) > 1 else 0), data[2:]
    whole = _unpacked(data, [], allow)
    for places in ([at], [*range(min(100, len(data))), *range(100, len(data), 16)]):
        found, crc, end = _unpacked(data, places, allow, bool(data[-1:] and data[-1] & 1))
        # The bytes of a file that come before a refusal come in as many pieces as are there.
        assert (found, end) == (whole[0], whole[2]), "what comes in pieces means something else"
        assert crc == whole[1]
    assert _unpacked(data, [], allow, True) == whole, "files taken whole mean something else"
    return whole


def _qfile_holds(found: tuple[list[Any], int, Any]) -> None:
    """What a receiver understands, a sender says."""
    known, _, ended = found
    if ended is not True:
        return
    packer = Packer()
    stream = b""
    for event in known:
        match event:
            case EntryStart() | Directory():
                stream += packer.entry(event)
            case bytes():
                stream += packer.data(event)
            case Symlink(path, target):
                stream += packer.entry(Entry(path, stat.S_IFLNK | 0o777, len(target), 0, 0)) + packer.data(target)
    stream += packer.end()
    again, crc, whole = _unpacked(stream, [], True)
    assert (again, whole) == (known, True)
    assert crc == packer.crc == zlib.crc32(stream)


def _packed(data: bytes) -> bytes:
    """Let a sender send entries: of each its name, mode, size, times and content."""
    pieces = Pieces(data)
    packer = Packer()
    stream = b""
    while pieces:
        name, mode, size = pieces.piece(), pieces.number(2), pieces.number(8) >> pieces.byte() % 64
        stream += packer.entry(Entry(name, mode, size, pieces.number(8) - (1 << 62), pieces.number(8)))
        if content := pieces.piece():
            stream += packer.data(content)
    stream += packer.end()
    assert packer.crc == zlib.crc32(stream)
    try:
        packer.end()
    except LocalProtocolError:
        return stream
    raise AssertionError("a stream ends twice")


def _packed_holds(stream: bytes) -> None:
    _, crc, end = _unpacked(stream, [], True)
    assert end is True or end[0] in (errno.EILSEQ, errno.EINVAL, errno.ENAMETOOLONG, errno.ENOLINK, errno.ENOENT)
    assert end is not True or crc == zlib.crc32(stream)


def _result(data: bytes) -> Result:
    result = Result.parse(data)
    assert 0 <= result.exit_status <= 255
    check_result(result, 0xB2802DF1)
    return result


def _result_holds(result: Result) -> None:
    assert Result.parse(result.render()) == result


def _any_result(data: bytes) -> Result:
    return Result.parse(data)


def _name(data: bytes) -> bytes:
    """Check a name and, behind a NUL, a link's target; the first byte says whether all characters are taken."""
    allow, (name, nul, target) = bool(data[:1] and data[0] & 1), data[1:].partition(b"\0")
    found = check_name(name, allow_all_names=allow)
    assert allow or is_plain(found)
    return check_link(found, target, allow_all_names=allow) if nul else found


def _name_holds(path: bytes) -> None:
    assert path
    assert b"\0" not in path


def _gui(role: gui.Role, data: bytes) -> list[Any]:
    """Speak with a peer: the first byte is the own version, the second where the rest is cut."""
    own, at, data = Version(1, data[0] if data else 8), (data[1] if len(data) > 1 else 0), data[2:]
    found = []
    for pieces in ([data], [data[:at], data[at:]], [bytes([b]) for b in data[:200]] + [data[200:]]):
        connection = Connection(role, own)
        if role is AGENT:
            connection.send(own)
        found.append(_gui_heard(connection, pieces))
    assert found[0] == found[1] == found[2], "what is cut means something else"
    return found[0]


def _gui_heard(connection: Connection, pieces: list[bytes]) -> list[Any]:
    """Return all events; a daemon says how large the screen is as soon as it has the agent's version."""
    found: list[Any] = []
    try:
        for piece in [*filter(None, pieces), b""]:
            connection.receive_data(piece)
            while (event := connection.next_event()) is not gui.NEED_DATA:
                found.append(event)
                if event is gui.CLOSED:
                    break
                if connection.role is DAEMON and isinstance(event, Version) and event.minor % 2 == 0:
                    connection.send(XConf.of_screen(800, 600))
    except RemoteProtocolError as error:
        check_error(error)
        found.append(str(error))
    return found


def _gui_holds(found: list[Any]) -> None:
    """What is understood as a message can be sent as one."""
    sender = Connection(AGENT)
    sender.send(gui.CURRENT)
    sender.receive_data(_HELLO + _SCREEN)
    assert [sender.next_event(), sender.next_event()] == [gui.CURRENT, XConf.parse(_SCREEN)]
    for event in found:
        if isinstance(event, Message):
            receiver = Connection(DAEMON)
            receiver.receive_data(_HELLO + sender.send(event))
            assert receiver.next_event() == gui.CURRENT
            receiver.send(XConf.parse(_SCREEN))
            assert receiver.next_event() == event
        elif isinstance(event, XConf):
            assert XConf.parse(event.render()) == event
        elif isinstance(event, Version):
            check_text(str(event))


def _gui_sent(data: bytes) -> bytes:
    """Send what is made of numbers, in the order that bytes say."""
    pieces = Pieces(data)
    connection = Connection(DAEMON if pieces.byte() % 2 else AGENT, Version(1, pieces.byte() % 9))
    connection.receive_data(_HELLO + _SCREEN)
    said = b""
    while pieces:
        match pieces.byte() % 4:
            case 0:
                said += connection.send(Version(pieces.number(3) - 5, pieces.number(1)))
            case 1:
                said += connection.send(XConf(pieces.number(2), pieces.number(2), pieces.number(1), pieces.number(4)))
            case 2:
                kind = [*Type][pieces.byte() % len(Type)]
                said += connection.send(
                    Message(kind, pieces.number(5), pieces.piece() * (1 + 999 * (pieces.byte() % 2)))
                )
            case 3:
                connection.next_event()
    return said


def _admin_events(data: bytes) -> list[Any]:
    """Take qubesd's events, whole and in two pieces of which the first byte says how long the first is."""
    at, data = (data[0] if data else 0), data[1:]
    found = []
    for pieces in ([data], [data[:at], data[at:]]):
        parser = EventParser()
        one: list[Any] = []
        try:
            for piece in pieces:
                parser.receive_data(piece)
                while (event := parser.next_event()) is not None:
                    one.append(event)
        except RemoteProtocolError as error:
            check_error(error)
            one.append(error.__class__)
        found.append(one)
    if not found[0] or isinstance(found[0][-1], AdminEvent):
        assert found[0] == found[1], "what is cut in two means something else"
    return found[0]


def _admin_events_hold(found: list[Any]) -> None:
    parser = EventParser()
    for event in found:
        if isinstance(event, AdminEvent):
            fields = ["1", event.vm, event.name, *(text for pair in event.values.items() for text in pair), ""]
            parser.receive_data("".join(f"{one}\0" for one in fields).encode("ascii"))
            assert parser.next_event() == event


def _many_keys(data: bytes) -> AdminEvent | None:
    """Take one event of *data*, repeated as often as it takes to go beyond the bounds."""
    parser = EventParser()
    parser.receive_data(b"1\0work\0x\0" + data * (1 + (1 << 19) // max(1, len(data))))
    return parser.next_event()


def _opened(data: bytes) -> openinvm.Header:
    return openinvm.Header.parse(data if len(data) > 255 else data.ljust(256, b"\0"))


def _opened_holds(header: openinvm.Header) -> None:
    data = openinvm.header(header.name.encode("ascii"), view_only=header.view_only)
    assert len(data) == openinvm.HEADER_SIZE
    again = openinvm.Header.parse(data)
    assert (again.name, again.view_only) == (header.name, header.view_only)
    check_text(header.name)


def _sent_header(data: bytes) -> bytes:
    return openinvm.header(data[1:], view_only=bool(data[:1] and data[0] & 1))


def _sent_header_holds(data: bytes) -> None:
    assert len(data) == openinvm.HEADER_SIZE
    assert data.endswith(b"\0")
    # A name that an agent refuses is refused by it, as control characters are.
    try:
        openinvm.Header.parse(data)
    except RemoteProtocolError as error:
        check_error(error)


def _holes(data: bytes) -> None:
    """Write content of runs of bytes in pieces, and compare what is there then."""
    pieces = Pieces(data)
    start = pieces.number(2)
    content = b"".join(bytes([pieces.byte()]) * (pieces.number(2) % 9000) for _ in range(8))
    places = [pieces.number(2) for _ in range(4)]
    results = []
    for chunks in (cut(content, places), [content] if content else []):
        made = bytearray(start + len(content))
        blocks: set[int] = set()
        at = start
        for chunk in chunks:
            for place, piece in written(memoryview(chunk), at):
                assert len(piece)
                made[place : place + len(piece)] = piece
                blocks |= {*range(place // BLOCK, (place + len(piece) - 1) // BLOCK + 1)}
            at += len(chunk)
        assert made[start:] == content
        results.append(blocks)
    assert results[0] >= results[1]
    assert {block for block in results[0] if made[block * BLOCK : block * BLOCK + BLOCK].strip(b"\0")} <= results[1]


def _checksum(data: bytes) -> None:
    large = data * (1 + LARGE // max(1, len(data)))
    for one in (data, large, bytearray(large), memoryview(large), memoryview(bytearray(large))):
        assert crc32(one, 7) == zlib.crc32(one, 7)


def _qrexec(data: bytes) -> list[tuple[messages.Kind, bytes]]:
    at, data = (data[0] if data else 0), data[1:]
    found = []
    for pieces in ([data], [data[:at], data[at:]]):
        parser = messages.Parser()
        one: list[tuple[messages.Kind, bytes]] = []
        try:
            for piece in pieces:
                parser.feed(piece)
                one += parser.messages()
        except messages.BadMessage as error:
            check_error(error)
            one.append((messages.Kind.STATUS, b"bad"))
        found.append(one)
    assert found[0] == found[1] or (messages.Kind.STATUS, b"bad") in found[0], "what is cut in two means something else"
    return found[0]


def _qrexec_holds(found: list[tuple[messages.Kind, bytes]]) -> None:
    parser = messages.Parser()
    parser.feed(b"".join(messages.pack(kind, body) for kind, body in found))
    assert [*parser.messages()] == found


def _command(text: str) -> qrexec_command.Command:
    return qrexec_command.parse(text.encode("ascii", "replace").decode())


def _policy(text: str) -> Any:
    return policy.decide(text, qrexec_command.Command("user", "work", "qubes.Filecopy+x"), "sys-net")


_NUMBERS = tuple(
    n.to_bytes(4, "little") for n in (*range(124, 150), 0o100644, 0o40755, 0o120777, 0, 1, 6, 20, 32, 128, 1 << 20)
)

TARGETS: tuple[Target, ...] = (
    bytes_target(
        "wire.qfile", _qfile, b"\0\x21" + ONE_FILE, b"\0\x50" + TREE, b"\0\0" + ONE_FILE[:39],
        b"\1\0" + file("ё\u2066".encode()) + END, b"\0\0",
        b"\0\0" + file("ё".encode()) + END, b"\0\0" + file("é\u2066".encode()), b"\0\0" + file(b"../a"),
        b"\0\0" + raw(b"a\0b", 0o100644), b"\0\0" + link(b"l", b"x"),
        b"\0\0" + link(b"d/l", b"/x"), b"\0\0" + link(b"d/l", b"../x"), b"\0\0" + raw(b"x", 0o10644),
        b"\0\0" + raw(b"x", 0o100644, nanoseconds=10**9),
        b"\0\0" + raw(b"x", 0o100644, size=1 << 63), b"\0\0" + raw(b"x", 0o120777, size=5000),
        b"\0\0" + raw(b"x", 0o100644, name_length=20000),
        b"\0\0" + raw(b"x", 0o100644, name_length=1), b"\0\0" + link(b"d/l", b""), b"\0\0" + link(b"d/l", b"a\0"),
        b"\0\0" + file(b"\xff"), b"\0\0" + ONE_FILE[:35],
        b"\0\0" + ONE_FILE + b"more", b"\0\0" + file(b"a", b"xy")[:-1],
        b"\1\0" + link(b"d/l", "ё\u2066".encode()) + END, b"\0\0" + link(b"d/l", b".//./a") + END,
        holds=_qfile_holds, words="../ d/a a.txt", more_words=_NUMBERS,
    ),
    bytes_target(
        "wire.qfile-packed", _packed,
        in_pieces([b"a"]) + b"\xa4\x81" + b"\3" + bytes(7) + b"\0" + bytes(8) + bytes(8) + in_pieces([b"hi\n"]), b"",
        in_pieces([b"d"]) + b"\xed\x41" + bytes(9) + bytes(7) + b"\x40" + bytes(7) + b"\x80" + in_pieces([b""]),
        in_pieces([b""]), in_pieces([b"a\0b"]),
        in_pieces([b"a"]) + b"\xa4\x81" + b"\xff" * 8 + b"\0", in_pieces([b"a"]) + b"\xa4\x81" + b"\3" + bytes(7),
        in_pieces([b"a"]) + b"\xa4\x81" + bytes(25) + in_pieces([b"x"]),
        in_pieces([b"a"]) + b"\xa4\x81" + b"\x05" + bytes(24) + in_pieces([b"x"]) + in_pieces([b"b"]),
        holds=_packed_holds, words="a/b ../x",
    ),
    bytes_target(
        "wire.qfile-result", _result, bytes.fromhex("0000000000000000f12d80b200000000 05000000612e747874"),
        bytes.fromhex("1100000000000000b81d60a000000000"),
        bytes(16), bytes(18), b"x", LEGAL_EOF.to_bytes(4, "little") + bytes(12) + b"\1\0\0\0a",
        b"\xac\xff\xff\xff" + bytes(12), bytes(16) + b"\xff\xff\0\0",
        bytes.fromhex("0000000000000000f12d80b200000000"), b"\x99\x99\0\0" + bytes(12), b"\x0d\0\0\0" + bytes(12),
        holds=_result_holds,
        more_words=tuple(int(code).to_bytes(4, "little") for code in (errno.EEXIST, errno.EILSEQ, errno.EDQUOT,
            LEGAL_EOF, NAME_MAX_BYTES)),
    ),
    bytes_target("wire.qfile-anyresult", _any_result,
        bytes.fromhex("0100000000000000f12d80b200000000 05000000612e747874"), bytes(16) + b"\1\0\0\0", bytes(17),
        holds=_result_holds),
    bytes_target(
        "wire.qfile-names", _name, b"\0a/b", b"\0a\0b", b"\0d/e\0../x", b"\1\xff", b"\0\xff", b"\0a//b", b"\0.",
        b"\0/a", b"\0d/l\0a/../..", "\0д/é\0漢".encode(),
        b"\0d/l\0" + b"x" * 4096, "\0d/l\0\u2066".encode(), b"\0d/l\0/", b"\0d/l\0", b"\0d/l\0./", holds=_name_holds,
        words="../ ./ // /..", input_max=6000,
    ),
    bytes_target(
        "wire.gui-agent", lambda data: _gui(AGENT, data),
        b"\x08\4" + _HELLO + _SCREEN + bytes.fromhex("8600000001006000 14000000") + bytes(20), b"\3\0" + _SCREEN,
        b"\x08\0" + _SCREEN, b"\x08\0" + Version(2, 0).render(), b"\x08\0" + Version(1, 9).render(), b"\x08\0",
        b"\x08\0" + _HELLO, b"\x08\0" + _HELLO + bytes(16),
        b"\5\0" + Version(1, 5).render() + _SCREEN + bytes.fromhex("8600000001006000 15000000") + bytes(20),
        b"\x08\0" + _HELLO + _SCREEN[:9],
        b"\x08\0" + _HELLO + _SCREEN[:8] + b"\7" + _SCREEN[9:], b"\x08\0" + _HELLO + _SCREEN[:12] + bytes(4),
        b"\x08\0" + _HELLO + _SCREEN + b"x",
        b"\x08\0" + _HELLO + _SCREEN + bytes.fromhex("8700000001006000 ffffff00"),
        b"\x08\0" + _HELLO + _SCREEN + bytes(12), holds=_gui_holds, more_words=(_HELLO, _SCREEN, *_NUMBERS),
    ),
    bytes_target(
        "wire.gui-daemon", lambda data: _gui(DAEMON, data),
        b"\x08\2" + _HELLO + bytes.fromhex("8d00000001006000 80000000") + bytes(128),
        b"\x08\0" + Version(1, 7).render() + b"x",
        b"\x08\0" + Version(0, 1).render(), b"\x08\0", b"\x08\0\1",
        b"\x08\0" + Version(1, 2).render() + bytes.fromhex("9100000001006000 02000000") + b"ab",
        b"\x08\0" + Version(1, 7).render(),
        b"\x08\0" + _HELLO + bytes.fromhex("8600000001006000 15000000"), holds=_gui_holds,
        more_words=(_HELLO, *_NUMBERS),
    ),
    bytes_target(
        "wire.gui-sent", _gui_sent, b"\1\x08\3\1\x80\x07\x38\x04\x18\xa5\x1f\0\0\2\5\1\0\0\0\0" + in_pieces([b""]),
        b"\0\x08\0\6\0\0\x08\3\3\2\x0c\1\0\0\0\0" + in_pieces([b"x" * 20]),
        b"\0\x08\0\0\0\0\1", b"\1\x08\2", b"\1\x08\1", b"\1\3\3\1\x80\x07\x38\x04\x18\xa5\x1f\0\0",
        b"\0\x08\0\6\0\0\x08\3\3\2\5\0\0\0\0\1" + in_pieces([b"x" * 900]) + b"\1",
        b"\0\x08\0\6\0\0\x08\0\6\0\0\x08",
    ),
    bytes_target(
        "wire.adminevents", _admin_events, b"\5" + _EVENT * 2 + b"1\0\0connection-established\0\0", b"\x000\0",
        b"\x002\0QubesVMNotFoundError\0\0\0", b"\x001\0a\0b\0\xff\0\0",
        b"\x001x\0a\0b\0\0", b"\x001\0a\0b\0" + b"k\0v\0" * 70, b"\0", holds=_admin_events_hold,
        words="domain-start property-set:netvm work newvalue",
        more_words=(b"1\0", b"\0\0"),
    ),
    bytes_target("wire.adminevents-many", _many_keys, b"", b"k\0v\0", b"x", b"kkkk\0", input_max=64),
    bytes_target(
        "wire.openinvm", _opened, b"a.txt", b"view-only-b c\xff", b"..", b"a/b", b"a\0b", b"x" * 256, b"", b"x" * 257,
        b".gitignore", holds=_opened_holds, words="view-only- ..", input_max=300,
    ),
    bytes_target("wire.openinvm-made", _sent_header, b"\0/home/a.txt", b"\1" + b"x" * 300, b"\0/", b"\0..", b"\0a\0",
        b"\0\n", holds=_sent_header_holds, words="/ . .."),
    bytes_target("wire.holes", _holes, b"\5\0\0\x10\x20\1\x10\0\0\xff\x20\0\1\0",
        b"\0\0\0\0\x10\0\0\x10\1\x05\0\0\0\x10", b"", b"\0\x10\0\x28\x23\2\1\0"),
    bytes_target("wire.crc32", _checksum, b"abc", b"", b"\0", input_max=64),
    bytes_target("qrexec.messages", _qrexec, b"\4" + b"".join(messages.pack(kind, b"body") for kind in messages.Kind),
        b"\0" + bytes(8), b"\0" + messages.pack(messages.Kind.STDIN, b""),
        b"\0\x91\1\0\0\xff\xff\xff\xff", holds=_qrexec_holds,
        more_words=tuple(int(kind).to_bytes(4, "little") for kind in messages.Kind)),
    Target("qrexec.command", lambda data: _command(data.decode("latin-1")), (
        b"user:QUBESRPC qubes.SetMonitorLayout dom0", b"user:nogui:QUBESRPC a+b work name x", b"user:ls", b"x",
        b"u:QUBESRPC  ", b"u:QUBESRPC + x", b":a"),
        words=(b"QUBESRPC ", b"nogui:", b"DEFAULT:"), errors=(qrexec_command.BadCommand,)),
    Target("qrexec.policy", lambda data: _policy(data.decode("latin-1").encode("ascii", "replace").decode()), (
        policy.DEFAULT.encode(), b"* * work @anyvm allow user=root target=x", b"* x a b allow", b"* * a b maybe",
        b"qubes.Filecopy +x @adminvm @anyvm deny # y\n* * work sys-net allow",
        b"* * a b allow x=y"), words=(b"allow", b"deny", b"ask", b"@anyvm", b"@adminvm", b"user=", b"target=", b"* *"),
        errors=(policy.BadPolicy,)),
    Target("qubesd.request", Request.parse, (b"admin.vm.List+ dom0 name dom0\0", b"a+b dom0 keyword adminvm\0x", b"x",
        b"a b c d\0", b"\xff+ a name b\0"),
        words=(b" dom0 name ", b"admin.vm.", b"keyword adminvm"), errors=(Unanswered,)),
)  # fmt: skip
