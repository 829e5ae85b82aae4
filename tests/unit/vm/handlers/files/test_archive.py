"""Archives as file copies: every archive gives a whole transfer or one clear fault, in bounded time."""

from __future__ import annotations

import contextlib
import io
import tarfile
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import seeds
from tests.support.qfilestream import events
from vminterface.errors import InvalidValue, VMInterfaceError
from vminterface.vm.handlers.files import archive as handler
from vminterface.vm.handlers.files.archive import EXTENSION_LIMIT, Conversion
from vminterface.wire.qfile import Directory, EntryStart, Unpacker

names = st.lists(st.text("abc-._", min_size=1, max_size=60).filter(lambda n: n not in (".", "..")), min_size=1).map(
    "/".join
)


def tar(members: dict[str, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def header(name: str = "x", size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def extended(*records: bytes) -> bytes:
    """Return an extended header that says *records* of the member behind it."""
    text = b"".join(b"%d %s\n" % (len(record) + len(str(len(record) + 4)) + 2, record) for record in records)
    return header(size=len(text), kind=tarfile.XHDTYPE) + text.ljust(-(-len(text) // 512) * 512, b"\0")


def files(data: bytes, desired: list[bytes] = [], *, seekable: bool = True) -> dict[str, bytes]:  # noqa: B006
    conversion = Conversion(io.BytesIO(data), desired, seekable=seekable)
    found: dict[str, bytes] = {}
    last = ""
    for event in events(Unpacker(), conversion.chunks()):
        if isinstance(event, EntryStart):
            last = event.path.decode()
            found[last] = b""
        elif isinstance(event, bytes):
            found[last] = event
    return found


@pytest.mark.parametrize("seekable", [True, False], ids=["file", "pipe"])
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@given(members=st.dictionaries(names, st.binary(max_size=2000), max_size=5))
def test_what_is_in_the_archive_is_in_the_transfer(seekable: bool, form: int, members: dict[str, bytes]) -> None:
    assert files(tar(members, form), seekable=seekable) == members


@given(st.lists(st.sampled_from(["a/1", "a/b/2", "a/b/3", "c/4", "5", "a/6"]), max_size=8))
def test_every_file_is_in_a_folder_that_is_open_and_every_folder_is_sent_twice(paths: list[str]) -> None:
    conversion = Conversion(
        io.BytesIO(tar({}) if not paths else b"".join(tar({p: b""}) for p in paths)), [], seekable=True
    )
    opened: list[bytes] = []
    for event in events(Unpacker(), conversion.chunks()):
        if isinstance(event, Directory):
            if event.path in opened:
                assert opened.pop() == event.path
            else:
                assert event.path.rpartition(b"/")[0] == (opened[-1] if opened else b"")
                opened.append(event.path)
        elif isinstance(event, EntryStart):
            assert event.path.rpartition(b"/")[0] == (opened[-1] if opened else b"")
    assert opened == []


def test_whether_the_archive_was_read_whole_is_known() -> None:
    data = tar({"a": b"1", "b": b"2", "c": b"3"})
    for desired, whole in (([], True), ([b"c"], True), ([b"a"], False), ([b"a", b"none"], True)):
        conversion = Conversion(io.BytesIO(data), desired, seekable=True)
        assert list(conversion.chunks())
        assert conversion.whole == whole


@pytest.mark.parametrize("seekable", [True, False], ids=["file", "pipe"])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cannot be read"),
        (b"x" * 100, "damaged"),
        (b"\xff" * 5000, "damaged"),
        (header(size=10), "ends inside 'x'|cannot be read"),
        (tar({"a": b"1"})[:1024] + b"\xff" * 512, "damaged"),
        (header(size=EXTENSION_LIMIT + 1, kind=tarfile.XHDTYPE), "header of 65537 bytes"),
        (header(size=1 << 40, kind=tarfile.GNUTYPE_LONGNAME), "header of 1099511627776 bytes"),
        (header(size=10, kind=tarfile.XGLTYPE), "a global header"),
        (header(kind=tarfile.GNUTYPE_SPARSE), "'x' in the archive is a sparse file"),
        (extended(b"GNU.sparse.major=1", b"GNU.sparse.minor=0") + header(), "'x' in the archive is a sparse file"),
        (extended(b"GNU.sparse.map=0,1", b"GNU.sparse.size=5") + header(), "'x' in the archive is a sparse file"),
        (header(size=1 << 80), "has more than 9223372036854775807 bytes"),
        (extended(b"size=99999999999999999999") + header(), "has more than 9223372036854775807 bytes|cannot be read"),
        (extended(b"size=-1024") + header(), "negative size|cannot be read"),
        (extended(b"size=-1024") * 3 + header(), "negative size|cannot be read"),
        (header(kind=tarfile.DIRTYPE, name="d") + header(kind=tarfile.BLKTYPE), "neither a file nor a folder"),
    ],
)
def test_what_is_no_plain_archive_is_refused(data: bytes, reason: str, seekable: bool) -> None:
    with pytest.raises(InvalidValue, match=reason):
        files(data, seekable=seekable)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("seekable", [True, False], ids=["file", "pipe"])
@pytest.mark.parametrize("size", [1 << 20, 1 << 60, 1 << 80])
def test_a_member_that_is_passed_over_and_has_no_end_costs_no_time(size: int, seekable: bool) -> None:
    with pytest.raises(InvalidValue, match=r"cannot be read|ends inside a member|has more than"):
        files(header(size=size), [b"other"], seekable=seekable)


def test_a_tarfile_that_lets_no_header_be_checked_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "_Member", tarfile.TarInfo)
    with pytest.raises(InvalidValue, match="cannot check headers"):
        files(tar({"a": b"1"}))


def test_headers_without_end_before_a_member_are_refused() -> None:
    with pytest.raises(InvalidValue):
        files(extended(b"comment=x") * 5000 + header())


@pytest.mark.parametrize("text", [b"mtime=nan", b"mtime=inf", b"mtime=-inf", b"mtime=1e300", b"mtime=-5", b"mtime=x"])
def test_a_time_that_is_none_is_the_nearest_one(text: bytes) -> None:
    assert files(extended(text) + header()) == {"x": b""}


def test_many_members_cost_no_memory_each() -> None:
    member = tar({"a" * 50: b""})[:512]

    class Endless(io.RawIOBase):
        left = 40_000

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            count = min(size // 512, self.left)
            self.left -= count
            return member * count

    tracemalloc.start()
    conversion = Conversion(Endless(), [b"none"], seekable=False)  # type: ignore[arg-type]
    assert sum(map(len, conversion.chunks())) == 32
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.fuzz
def test_whatever_is_fed_in_gives_a_transfer_or_our_error() -> None:
    random_source = seeds.chance("archives")
    runs = seeds.rounds(100_000)
    archives = [tar({"a": b"1", "d/b": b"x" * 600}, form) for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)] + [
        extended(b"path=d/c", b"size=3", b"mtime=1.5") + header(size=3) + b"abc".ljust(512, b"\0") + bytes(1024)
    ]
    for _ in range(runs):
        data = bytearray(random_source.choice(archives)[:3072])
        for _ in range(random_source.randint(1, 6)):
            data[random_source.randrange(len(data))] = random_source.randrange(256)
        if random_source.random() < 0.3:
            # A header whose checksum is right is read further.
            place = random_source.randrange(len(data) // 512) * 512
            data[place + 148 : place + 156] = b"        "
            data[place + 148 : place + 156] = b"%06o\0 " % sum(data[place : place + 512])
        if random_source.random() < 0.2:
            del data[random_source.randrange(len(data)) :]
        with contextlib.suppress(VMInterfaceError):
            list(Conversion(io.BytesIO(data), [], seekable=random_source.random() < 0.5).chunks())
