"""Files sent to this VM by qubes.Filecopy, through the streams that the agent gives."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from tests.support.agentcall import Running, call, within
from tests.support.handlers import VM
from tests.support.qfilestream import END, file, folder
from vminterface.errors import ServiceFailed
from vminterface.vm.handlers import filecopy
from vminterface.wire.qfile_result import LEGAL_EOF, Result

SERVICE = "qubes.Filecopy"
# A file a.txt of three bytes, as Qubes core-agent-linux's qfile-agent sends it.
A_TXT = bytes.fromhex("06000000a48100000300000000000000039ebb5500000000039ebb5500000000612e7478740068690a")


def received(vm: VM) -> dict[str, bytes]:
    top = vm.root / "home/user/QubesIncoming"
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def test_a_file_lands_in_the_callers_folder_and_its_result_is_answered(vm: VM) -> None:
    reply = call(vm, SERVICE, A_TXT + END)
    assert (reply.status, reply.stderr) == (0, "")
    assert reply.stdout == bytes.fromhex("0000000000000000f12d80b20000000005000000612e747874")
    assert received(vm) == {"work/a.txt": b"hi\n"}
    assert (vm.root / "home/user/QubesIncoming/work").stat().st_mode & 0o777 == 0o700
    assert (vm.root / "home/user/QubesIncoming/work/a.txt").stat().st_mtime == 1438359043


def test_files_go_where_a_link_of_the_users_leads(vm: VM) -> None:
    (vm.root / "rw/large").mkdir(parents=True)
    (vm.root / "home/user/QubesIncoming").symlink_to("../../rw/large")
    assert call(vm, SERVICE, A_TXT + END).status == 0
    assert (vm.root / "rw/large/work/a.txt").read_bytes() == b"hi\n"


def test_no_link_leads_out_of_a_machine_that_is_a_folder(vm: VM, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (vm.root / "home/user/QubesIncoming").symlink_to(tmp_path / "outside")
    assert "points outside the machine's root" in call(vm, SERVICE, A_TXT + END).refused(SERVICE)
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_file_that_is_there_is_not_replaced(vm: VM) -> None:
    call(vm, SERVICE, A_TXT + END)
    reply = call(vm, SERVICE, A_TXT + END)
    assert reply.status == 17
    assert reply.stdout == bytes.fromhex("1100000000000000b81d60a00000000005000000612e747874")
    assert reply.stderr == f"{SERVICE}: 'a.txt': a file of that name is already there (EEXIST)\n"


def test_an_empty_transfer_is_a_success(vm: VM) -> None:
    reply = call(vm, SERVICE, END)
    assert reply.status == 0
    assert reply.stdout == bytes(8) + bytes.fromhex("ad550a190000000000000000")


def test_a_name_with_unusual_characters_needs_the_argument(vm: VM) -> None:
    stream = file(b"\xf0\x9f\x98\x80", b"x") + END
    reply = call(vm, SERVICE, stream)
    assert reply.status == 84
    assert received(vm) == {}
    assert call(vm, SERVICE, stream, "allow-all-names", QREXEC_SERVICE_ARGUMENT="allow-all-names").status == 0
    assert received(vm) == {"work/\U0001f600": b"x"}


def test_any_other_argument_is_refused_before_a_byte_is_read(vm: VM) -> None:
    reply = call(vm, SERVICE, A_TXT + END, "all", QREXEC_SERVICE_ARGUMENT="all")
    assert "'all' is not an argument of this service" in reply.refused(SERVICE)
    assert not (vm.root / "home/user/QubesIncoming").exists()


def test_a_large_tree_arrives_whole(vm: VM) -> None:
    content = os.urandom(1 << 20)
    stream = folder(b"d") + b"".join(file(b"d/%d" % n, content) for n in range(16)) + folder(b"d") + END
    assert call(vm, SERVICE, stream).status == 0
    assert received(vm) == {f"work/d/{n}": content for n in range(16)}


@pytest.mark.parametrize(
    ("stream", "status"),
    [
        (b"", 121),
        (b"\n", 121),
        (b"garbage", 121),
        (b"\xff" * (1 << 20), 36),
        (bytes(1 << 20), 0),
        (file(b"../x", b"x") + END, 84),
        (file("ż/".encode(), b"x") + END, 84),
        (file(b"a\0b", b"x") + END, 84),
        (file(b"gone/x", b"x") + END, 2),
        (struct.pack("<IIQ", 2, 0o100644, 2**64 - 1) + bytes(16) + b"x\0", 122),
    ],
    ids=["empty", "newline", "short", "1 MiB of ff", "1 MiB of NUL", "dots", "slash", "NUL", "no parent", "too large"],
)
def test_a_stream_that_is_none_is_told_by_its_result(vm: VM, stream: bytes, status: int) -> None:
    reply = call(vm, SERVICE, stream)
    assert reply.status == status
    assert Result.parse(reply.stdout).exit_status == status
    assert len(reply.stderr.splitlines()) == (1 if status else 0)
    assert received(vm) == {}


def test_a_stream_cut_at_any_byte_leaves_no_file(vm: VM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/user")
    stream = A_TXT + END
    for length in range(len(stream)):
        with within(vm, SERVICE, stream[:length]) as (received_call, reply):
            with pytest.raises(ServiceFailed) as fault:
                filecopy.handle(received_call)
            result = Result.parse(reply.recv(1 << 16))
        whole = length >= len(A_TXT)
        inside = 32 <= length < len(A_TXT)
        assert result.code == (LEGAL_EOF if inside else 121)
        assert fault.value.status == result.exit_status
        assert received(vm) == ({"work/a.txt": b"hi\n"} if whole else {})
        if whole:
            (vm.root / "home/user/QubesIncoming/work/a.txt").unlink()


def test_a_caller_that_goes_in_the_middle_of_a_file_leaves_nothing_of_it(vm: VM) -> None:
    with Running(vm, SERVICE) as running:
        running.send(file(b"first", b"1") + file(b"second", bytes(1 << 20))[:-1000])
        running.hang_up()
        reply = running.ended()
    assert reply.status not in (0, None)
    assert received(vm) == {"work/first": b"1"}


@pytest.mark.parametrize("home", ["", "relative"])
def test_a_home_that_is_none_is_a_fault(vm: VM, home: str) -> None:
    assert "HOME" in call(vm, SERVICE, A_TXT + END, HOME=home).refused(SERVICE)
