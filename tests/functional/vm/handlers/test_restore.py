"""Backups that dom0 gets back from here: what is sent, in what form, and what stops it."""

from __future__ import annotations

import errno
import io
import os
import re
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from tests.support.agentcall import Running, call, ends, within
from tests.support.handlers import VM, Reply
from tests.support.qfilestream import events
from vminterface.errors import InvalidValue
from vminterface.vm.handlers import restore
from vminterface.vm.handlers.files.receive import Terms, receive
from vminterface.wire.qfile import Directory, End, EntryEnd, EntryStart, Unpacker
from vminterface.wire.qfile_result import Result

SERVICE = "qubes.Restore"
QUICK = Terms(sync=False)
MEMBERS = {
    "backup-header": b"version=4\n",
    "backup-header.hmac": b"x" * 64,
    "qubes.xml.000.enc": os.urandom(5000),
    "vm1/private.img.000.enc": os.urandom(300_000),
    "vm1/private.img.001.enc": os.urandom(3000),
    "vm2/deep/er/x.000.enc": b"",
}


def tar(members: dict[str, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(content), 1_438_359_043, 0o640
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


@pytest.fixture
def vm(vm: VM) -> VM:
    vm.write("/media/backup", tar(MEMBERS))
    return vm


class Dom0:
    """The unpacker that dom0 puts at the other end: it receives into *folder* and says how that went."""

    def __init__(self, vm: VM, folder: Path, request: bytes, terms: Terms = QUICK) -> None:
        folder.mkdir(exist_ok=True)
        self.received = folder
        self.result: Result | None = None
        with Running(vm, SERVICE, source="dom0") as running:
            running.send(request)
            opened = os.open(folder, os.O_RDONLY)
            try:
                self.result = receive(running.stdout.fileno(), opened, terms)
            finally:
                os.close(opened)
            running.send(self.result.render())
            running.end_input()
            self.usage = memory_of(running)
            self.reply: Reply = running.ended()

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.received)): path.read_bytes()
            for path in self.received.rglob("*")
            if path.is_file()
        }


def memory_of(running: Running) -> int:
    """Return the most memory that the handler has had, in bytes."""
    status = Path(f"/proc/{running.process.pid}/status")
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    except FileNotFoundError:
        return 0
    return int(found[1]) * 1024 if found else 0


def test_without_names_everything_is_sent(vm: VM, tmp_path: Path) -> None:
    dom0 = Dom0(vm, tmp_path / "dom0", b"/media/backup\n\n")
    assert (dom0.reply.status, dom0.reply.stderr) == (0, "")
    assert dom0.files() == MEMBERS
    found = (tmp_path / "dom0/vm1/private.img.000.enc").stat()
    assert (found.st_mode & 0o7777, found.st_mtime) == (0o640, 1_438_359_043)


@pytest.mark.parametrize(
    ("desired", "expected"),
    [
        ("backup-header", ["backup-header", "backup-header.hmac"]),
        ("backup-header backup-header.hmac", ["backup-header", "backup-header.hmac"]),
        ("vm1/", ["vm1/private.img.000.enc", "vm1/private.img.001.enc"]),
        ("  vm2   qubes.xml ", ["qubes.xml.000.enc", "vm2/deep/er/x.000.enc"]),
        ("none", []),
    ],
)
def test_names_select_what_begins_with_them(vm: VM, tmp_path: Path, desired: str, expected: list[str]) -> None:
    dom0 = Dom0(vm, tmp_path / "dom0", f"/media/backup\n{desired}\n".encode())
    assert dom0.reply.status == 0
    assert sorted(dom0.files()) == expected


def test_the_stream_has_each_folder_before_and_after_its_content(vm: VM) -> None:
    with Running(vm, SERVICE, source="dom0") as running:
        running.send(b"/media/backup\nvm\n")
        unpacker = Unpacker()
        found = []
        while not unpacker.ended:
            found += events(unpacker, [running.read(1)])
        running.send(unpacker.result().render())
        running.end_input()
        assert running.ended().status == 0
    what = [event.path if isinstance(event, EntryStart | Directory) else type(event) for event in found]
    names = [one for one in what if one not in (bytes, EntryEnd)]
    first, second = b"vm1/private.img.000.enc", b"vm1/private.img.001.enc"
    deep = [b"vm2", b"vm2/deep", b"vm2/deep/er"]
    assert names == [b"vm1", first, second, b"vm1", *deep, b"vm2/deep/er/x.000.enc", *reversed(deep), End]


def test_the_rest_is_not_read_once_every_name_was_found(vm: VM, tmp_path: Path) -> None:
    vm.write("/media/backup", tar(MEMBERS)[: 512 * 6] + b"\xff" * 4096)
    dom0 = Dom0(vm, tmp_path / "dom0", b"/media/backup\nbackup-header\n")
    assert (dom0.reply.status, sorted(dom0.files())) == (0, ["backup-header", "backup-header.hmac"])


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar_is_read_and_archives_behind_one_another_too(vm: VM, tmp_path: Path, form: int) -> None:
    long = {f"{'d' * 90}/{'f' * 90}": b"long"}
    vm.write("/media/backup", tar(MEMBERS, form) + tar(long, form))
    dom0 = Dom0(vm, tmp_path / "dom0", b"/media/backup\n\n")
    assert (dom0.reply.status, dom0.reply.stderr) == (0, "")
    assert dom0.files() == MEMBERS | long


def test_the_archive_of_the_tar_program_is_read(vm: VM, tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "vm1").mkdir(parents=True)
    (top / "vm1/a").write_bytes(b"1")
    for form in ("gnu", "posix", "ustar"):
        made = subprocess.run(["tar", "-C", top, f"--format={form}", "-c", "vm1"], capture_output=True, check=True)
        vm.write("/media/backup", made.stdout)
        dom0 = Dom0(vm, tmp_path / form, b"/media/backup\n\n")
        assert (dom0.reply.status, dom0.files()) == (0, {"vm1/a": b"1"})


def test_a_relative_location_is_in_the_home(vm: VM, tmp_path: Path) -> None:
    vm.write("/home/user/my backup", tar({"a": b"1"}))
    assert Dom0(vm, tmp_path / "dom0", b"my backup\n\n").files() == {"a": b"1"}


@pytest.mark.parametrize("name", ["../a", "/a", "a/../b", "a//b", "a\nb", "a\x1bb", "\U0001f600"])
def test_a_name_that_no_receiver_takes_stops_it(vm: VM, tmp_path: Path, name: str) -> None:
    vm.write("/media/backup", tar({"first": b"1", name: b"x"}))
    dom0 = Dom0(vm, tmp_path / "dom0", b"/media/backup\n\n")
    assert dom0.reply.status == 1
    assert "EILSEQ" in dom0.reply.stderr
    assert len(dom0.reply.stderr.splitlines()) == 1
    assert dom0.files() == {"first": b"1"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_member_that_is_no_file_stops_it(vm: VM, tmp_path: Path, kind: bytes) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        member = tarfile.TarInfo("odd")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    vm.write("/media/backup", target.getvalue())
    dom0 = Dom0(vm, tmp_path / "dom0", b"/media/backup\n\n")
    assert (dom0.reply.status, dom0.files()) == (1, {})
    assert "'odd' in the archive is neither a file nor a folder" in dom0.reply.stderr


@pytest.mark.parametrize(
    "content", [b"", b"text\n", b"\xff" * (1 << 20), tar(MEMBERS)[:5000], tar(MEMBERS)[:700] + b"\xff" * 2000]
)
def test_what_is_no_whole_archive_is_a_fault(vm: VM, tmp_path: Path, content: bytes) -> None:
    vm.write("/media/backup", content)
    dom0 = Dom0(vm, tmp_path / "dom0", b"/media/backup\n\n")
    assert dom0.reply.status == 1
    assert "the archive" in dom0.reply.stderr
    assert len(dom0.reply.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "request_", [b"/media/none\n\n", b"none\n\n", b"/media\n\n", b"cat /media/backup\n\n", b"/" + b"a" * 4000 + b"\n\n"]
)
def test_a_location_that_is_no_file_is_told_with_status_2(vm: VM, request_: bytes) -> None:
    reply = call(vm, SERVICE, request_)
    assert reply.status == 2
    assert "is not a file; commands are disabled" in reply.refused(SERVICE)


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"\n",
        b"\n\n",
        b" \n\n",
        b"/media/backup",
        b"/media/backup\n",
        b"/media/backup\nvm1",
        b"/media/back\0up\n\n",
        b"/media/backup\r\n\n",
        b"/media/backup\nvm1\tvm2\n",
        b"/media/backup\n\x1b\n",
        b"/" + b"a" * 5000 + b"\n\n",
        b"/media/backup\n" + b"a" * (1 << 20) + b"\n",
        b"\xff" * (1 << 20),
        bytes(1 << 20),
        "/media/ż".encode(),
    ],
)
def test_a_request_that_is_none_is_refused(vm: VM, request_: bytes) -> None:
    call(vm, SERVICE, request_).refused(SERVICE)


def test_a_request_cut_at_any_byte_is_refused(vm: VM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/user")
    request = b"/media/backup\nbackup-header\n"
    for length in range(len(request)):
        with within(vm, SERVICE, request[:length]) as (received_call, _), pytest.raises(InvalidValue):
            restore.handle(received_call)


def test_an_argument_is_refused(vm: VM) -> None:
    call(vm, SERVICE, b"/media/backup\n\n", "x", QREXEC_SERVICE_ARGUMENT="x").refused(SERVICE)


def test_a_receiver_that_goes_without_a_result_is_a_fault(vm: VM) -> None:
    reply = call(vm, SERVICE, b"/media/backup\n\n")
    assert reply.status == 1
    assert "closed the connection without confirming" in reply.stderr


def test_a_receiver_that_goes_in_the_middle_ends_it(vm: VM) -> None:
    vm.write("/media/backup", tar({"large": bytes(8 << 20)}))
    with Running(vm, SERVICE, source="dom0") as running:
        running.send(b"/media/backup\n\n")
        running.read(1 << 20)
        running.hang_up()
        reply = running.ended()
    assert (reply.status, reply.stderr) == (1, "")  # nobody listens any more


def test_a_command_that_says_nothing_is_ended_when_the_receiver_goes(vm: VM, tmp_path: Path) -> None:
    vm.write("/etc/vminterface/backup-commands-allowed")
    notes = tmp_path / "notes"
    with Running(vm, SERVICE, source="dom0") as running:
        running.send(f"echo $$ >'{notes}'; exec sleep 60\n\n".encode())
        limit = time.monotonic() + 20
        while not notes.exists() or not notes.read_text().endswith("\n"):
            assert time.monotonic() < limit
            time.sleep(0.02)
        running.hang_up()
        reply = running.ended()
    assert reply.status == 1
    assert ends(int(notes.read_text()))


def test_the_receivers_error_is_told(vm: VM, tmp_path: Path) -> None:
    (tmp_path / "dom0").mkdir()
    (tmp_path / "dom0/backup-header").write_text("old")
    dom0 = Dom0(vm, tmp_path / "dom0", b"/media/backup\n\n")
    assert dom0.reply.status == 1
    assert "EEXIST" in dom0.reply.stderr


def test_a_receiver_that_has_enough_is_no_fault(vm: VM, tmp_path: Path) -> None:
    dom0 = Dom0(vm, tmp_path / "dom0", b"/media/backup\n\n", Terms(entries=2, sync=False))
    assert dom0.result is not None
    assert dom0.result.code == errno.EDQUOT
    assert (dom0.reply.status, sorted(dom0.files())) == (0, ["backup-header", "backup-header.hmac"])


def test_a_checksum_that_differs_is_a_fault(vm: VM) -> None:
    with Running(vm, SERVICE, source="dom0") as running:
        running.send(b"/media/backup\nbackup-header\n")
        running.send(Result(0, 1, b"").render())
        running.end_input()
        reply = running.ended()
    assert reply.status == 1


def test_a_command_is_read_only_where_that_is_switched_on(vm: VM, tmp_path: Path) -> None:
    line = f"cat '{vm.root}/media/backup'\n\n".encode()
    assert call(vm, SERVICE, line).status == 2
    vm.write("/etc/vminterface/backup-commands-allowed")
    dom0 = Dom0(vm, tmp_path / "dom0", line)
    assert (dom0.reply.status, dom0.reply.stderr) == (0, "")
    assert dom0.files() == MEMBERS


def test_a_command_that_fails_is_a_fault(vm: VM, tmp_path: Path) -> None:
    vm.write("/etc/vminterface/backup-commands-allowed")
    dom0 = Dom0(vm, tmp_path / "dom0", f"cat '{vm.root}/media/backup'; echo lost >&2; exit 9\n\n".encode())
    assert dom0.reply.status == 1
    assert dom0.reply.stderr == f"lost\n{SERVICE}: the command ended with status 9\n"


def test_a_command_that_is_not_needed_any_more_is_ended(vm: VM, tmp_path: Path) -> None:
    vm.write("/etc/vminterface/backup-commands-allowed")
    line = f"echo $$ >'{tmp_path}/pid'; cat '{vm.root}/media/backup'; exec sleep 60\nbackup-header\n".encode()
    dom0 = Dom0(vm, tmp_path / "dom0", line)
    assert dom0.reply.status == 0
    assert ends(int((tmp_path / "pid").read_text()))


def test_64_mib_come_back_byte_for_byte_through_little_memory(vm: VM, tmp_path: Path) -> None:
    part = os.urandom(1 << 20)
    content = {f"vm{n}/private.img.{m:03}.enc": part * 8 + bytes([n, m]) for n in range(4) for m in range(2)}
    archive = tar(content)
    with Running(vm, "qubes.Backup", source="dom0") as running:
        running.send(b"/media/whole\n")
        running.send(archive)
        peak = memory_of(running)
        running.end_input()
        assert running.ended(60).status == 0
    assert (vm.root / "media/whole").read_bytes() == archive
    dom0 = Dom0(vm, tmp_path / "dom0", b"/media/whole\n\n")
    assert dom0.reply.status == 0
    assert dom0.files() == content
    assert 0 < peak < 48 << 20
    assert 0 < dom0.usage < 48 << 20
