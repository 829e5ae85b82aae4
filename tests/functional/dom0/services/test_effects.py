"""What each call promises beside the effect that ``test_every_service.py`` shows: its refusals, and what it returns.

Where no handler of ours would give such an answer, a script gives it.
"""

from __future__ import annotations

import errno
import io
import os
import struct
import sys
import tarfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.rpcstandin import StandIn
from tests.support.xrandr import fake_xrandr
from vminterface.channel.qrexec.client import Qrexec
from vminterface.dom0.ensure.files import file_sent
from vminterface.dom0.services import (
    appmenus,
    backup,
    clock,
    commands,
    disk,
    files,
    images,
    monitors,
    pci,
    session,
    suspend,
    timesync,
)
from vminterface.dom0.transfer import unpack
from vminterface.dom0.transfer.unpack import Limits
from vminterface.dom0.transfer.wholefile import FileError
from vminterface.errors import (
    InvalidValue,
    RemoteProtocolError,
    ServiceFailed,
    ServiceNotFound,
    VMNotRunning,
)
from vminterface.values.device import PciAddress
from vminterface.values.monitor import MonitorLayout
from vminterface.values.volume import Volume
from vminterface.vm.handlers.runtime.entry import MARK

LAYOUT = MonitorLayout.parse("1920 1080 0 0 508 285\n1280 800 1920 0\n")


def test_a_gui_vm_is_given_and_says_those_of_its_second_display(vms: StandIn, work: Path, qrexec: Qrexec) -> None:
    fake_xrandr(vms, "work")
    monitors.set_layout(qrexec, "work", MonitorLayout.parse("800 600 0 0\n"))
    (work / "run/qubes-service").mkdir()
    (work / "run/qubes-service/guivm-gui-agent").touch()
    assert monitors.of_vm(qrexec, "work").layout is None
    monitors.set_layout(qrexec, "work", LAYOUT)
    assert monitors.of_vm(qrexec, "work").matches(LAYOUT)


def test_a_time_without_zone_is_refused_before_the_call(vms: StandIn, qrexec: Qrexec) -> None:
    with pytest.raises(InvalidValue, match="time zone"):
        clock.set_clock(qrexec, "nobody", datetime(2026, 1, 1))


def test_a_session_without_a_graphical_one_is_up_at_once(vms: StandIn, work: Path, qrexec: Qrexec) -> None:
    vms.program("work", "qubesdb-read", "[ $1 = /qubes-gui-enabled ] && echo False")
    assert session.wait(qrexec, "work", timeout=10) is True


def test_a_degraded_session_is_told_from_one_that_does_not_come(vms: StandIn, qrexec: Qrexec) -> None:
    vms.handler("old", session.SERVICE, "cat >&2; echo >&2; exit 1")
    assert session.wait(qrexec, "old", user="someone") is False
    vms.handler("late", session.SERVICE, f"echo '{session.SERVICE}: it was not up within 5 s' >&2; exit 1")
    with pytest.raises(ServiceFailed, match=r"WaitForSession in late: exit status 1"):
        session.wait(qrexec, "late")


def test_applications_come_with_checked_values(work: Path, qrexec: Qrexec) -> None:
    folder = work / "usr/share/applications"
    folder.mkdir(parents=True)
    (folder / "firefox.desktop").write_text("[Desktop Entry]\nType=Application\nName=Firefox\nExec=firefox\n")
    (folder / "evil.desktop").write_text("[Desktop Entry]\nName=Bad;Name\nExec=x\n")
    found = {entry.id: entry.values for entry in appmenus.get(qrexec, "work")}
    assert found["firefox"]["Name"] == "Firefox"
    assert found["evil"]["Name"] == "BadName"


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 5000])
def test_a_request_for_no_picture_is_refused_before_the_call(vms: StandIn, qrexec: Qrexec, name: str) -> None:
    with pytest.raises(InvalidValue):
        images.icon(qrexec, "nobody", name)


def test_a_disk_that_cannot_grow_is_told_with_the_reason(work: Path, qrexec: Qrexec) -> None:
    (work / "etc/vminterface").mkdir()
    (work / "etc/vminterface/handlers.conf").write_text("private-device = /nothing\n")
    with pytest.raises(ServiceFailed, match=r"qubes.ResizeDisk in work: exit status 1: .*nothing"):
        disk.resize(qrexec, "work", Volume.PRIVATE)


def test_no_such_device_is_told(work: Path, qrexec: Qrexec) -> None:
    with pytest.raises(ServiceFailed, match=r"DetachPciDevice in work.*00:07.0"):
        pci.detach(qrexec, "work", PciAddress.parse("00:07.0"))


def test_files_and_folders_arrive(work: Path, qrexec: Qrexec, tmp_path: Path) -> None:
    source = tmp_path / "things"
    (source / "sub").mkdir(parents=True)
    (source / "a.txt").write_text("hi\n")
    (source / "sub/big").write_bytes(os.urandom(300_000))
    seen = []
    sent = files.send(qrexec, "work", [source], progress=lambda done, total: seen.append((done, total)))
    arrived = work / "home/user/QubesIncoming/dom0/things"
    assert (arrived / "a.txt").read_text() == "hi\n"
    assert (arrived / "sub/big").read_bytes() == (source / "sub/big").read_bytes()
    assert sent.total_bytes == 300_003
    assert seen[-1] == (300_003, 300_003)


def test_a_file_that_is_there_is_not_overwritten(work: Path, qrexec: Qrexec, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    files.send(qrexec, "work", [tmp_path / "a.txt"])
    (tmp_path / "a.txt").write_text("two")
    with pytest.raises(files.NotTaken, match=r"qubes.Filecopy in work: 'a.txt': .*already there \(EEXIST\)"):
        files.send(qrexec, "work", [tmp_path / "a.txt"])
    assert (work / "home/user/QubesIncoming/dom0/a.txt").read_text() == "one"


def test_unusual_names_are_sent_only_if_asked(work: Path, qrexec: Qrexec, tmp_path: Path) -> None:
    name = "odd\N{RIGHT-TO-LEFT OVERRIDE}"
    (tmp_path / name).write_text("x")
    with pytest.raises(InvalidValue, match=r"odd\\xe2\\x80\\xae: .*allow_all_names"):
        files.send(qrexec, "work", [tmp_path / name])
    assert not (work / "home/user/QubesIncoming").exists()
    files.send(qrexec, "work", [tmp_path / name], allow_all_names=True)
    assert (work / "home/user/QubesIncoming/dom0" / name).read_text() == "x"


@pytest.mark.parametrize("call", ["send", "file_sent"])
def test_an_unusual_name_deep_in_a_folder_is_named_before_anything_is_sent(
    vms: StandIn, work: Path, qrexec: Qrexec, tmp_path: Path, call: str
) -> None:
    """Thai and a Latin letter with a mark of its own: what the stock receiver refuses."""
    folder = tmp_path / "tree/deeper"
    folder.mkdir(parents=True)
    (tmp_path / "tree/a plain one").write_text("x")
    (folder / "\N{THAI CHARACTER KO KAI}").write_text("x")
    for name in vms.folder.glob("vms/work/qubes.*"):
        name.unlink()  # nothing is to be called
    tree = str(tmp_path / "tree")
    with pytest.raises(InvalidValue, match=r"/tree/deeper/\\xe0\\xb8\\x81: the name or link target has characters"):
        files.send(qrexec, "work", [tree]) if call == "send" else file_sent(qrexec, "work", tree)


def test_a_receiver_that_knows_fewer_characters_takes_a_whole_tree_if_asked(
    vms: StandIn, work: Path, qrexec: Qrexec, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a plain one").write_text("x")
    (tree / "é").write_text("y")
    program = vms.folder / "vms/work" / files.COPY
    fewer = "import vminterface.wire.qfile_names as names\nnames.is_plain = bytes.isascii\n"
    program.write_text(program.read_text().replace(MARK, fewer + MARK))
    files.send(qrexec, "work", [tree], allow_all_names=True)
    arrived = work / "home/user/QubesIncoming/dom0/tree"
    assert [path.read_text() for path in sorted(arrived.iterdir())] == ["x", "y"]
    (arrived.parent / "tree").rename(arrived.parent / "before")
    with pytest.raises(files.NotTaken, match="EILSEQ"):
        files.send(qrexec, "work", [tree])


@pytest.mark.parametrize(
    ("editor", "changed", "text"),
    [("echo more >> $1", True, "text\nmore\n"), ("sleep 3.1", False, "text\n"), (": > $1", False, "text\n")],
    ids=["edited", "left as it was", "emptied"],
)
def test_a_file_is_edited_in_the_vm_and_comes_back(
    vms: StandIn, work: Path, qrexec: Qrexec, tmp_path: Path, editor: str, changed: bool, text: str
) -> None:
    vms.program("work", "qubes-open", editor)
    note = tmp_path / "note.txt"
    note.write_text("text\n")
    note.chmod(0o640)
    before = sorted(os.listdir(tmp_path))
    assert files.open_in_vm(qrexec, "work", note, timeout=30) is changed
    assert (note.read_text(), note.stat().st_mode & 0o777) == (text, 0o640)
    assert sorted(os.listdir(tmp_path)) == before


def test_an_edited_file_leaves_as_much_of_the_disk_free_as_a_restore(
    vms: StandIn, qrexec: Qrexec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vms.handler("work", files.OPEN, "cat >/dev/null; head -c 1000000 /dev/zero")
    note = tmp_path / "note.txt"
    note.write_text("text\n")
    free = os.statvfs(tmp_path)
    monkeypatch.setattr(files, "Limits", lambda: Limits(reserve=free.f_bavail * free.f_frsize * 2))
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(FileError, match=r"note\.txt: \d+ bytes would leave less than \d+ bytes of the disk free"):
        files.open_in_vm(qrexec, "work", note)
    assert note.read_text() == "text\n"
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_an_edited_file_stays_its_owners_and_loses_its_set_id_bits(
    vms: StandIn, qrexec: Qrexec, tmp_path: Path
) -> None:
    vms.handler("work", files.OPEN, "cat >/dev/null; echo edited")
    note = tmp_path / "note.txt"
    note.write_text("text\n")
    os.chown(note, 1234, 4321)
    note.chmod(0o6750)
    assert files.open_in_vm(qrexec, "work", note)
    now = note.stat()
    assert (now.st_uid, now.st_gid, oct(now.st_mode & 0o7777)) == (1234, 4321, "0o750")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_a_file_whose_owner_cannot_be_kept_is_not_opened_at_all(
    vms: StandIn, qrexec: Qrexec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    vms.handler("work", files.OPEN, f"cat >{vms.folder}/seen; echo edited")
    (tmp_path / "note.txt").write_text("text\n")
    os.chown(tmp_path / "note.txt", 1234, 4321)
    monkeypatch.setattr(os, "fchown", refuse)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(FileError, match=r"note\.txt: Operation not permitted"):
        files.open_in_vm(qrexec, "work", tmp_path / "note.txt")
    assert sorted(os.listdir(tmp_path)) == before
    assert not (vms.folder / "seen").exists()


def test_a_file_that_is_only_shown_never_changes(vms: StandIn, qrexec: Qrexec, tmp_path: Path) -> None:
    vms.handler("work", files.OPEN, "cat >/dev/null; echo other")
    (tmp_path / "note.txt").write_text("text\n")
    assert files.open_in_vm(qrexec, "work", tmp_path / "note.txt", view_only=True) is False
    assert (tmp_path / "note.txt").read_text() == "text\n"


def test_an_edited_copy_of_a_failed_call_is_dropped(vms: StandIn, qrexec: Qrexec, tmp_path: Path) -> None:
    vms.handler("work", files.OPEN, "cat >/dev/null; echo half; exit 9")
    (tmp_path / "note.txt").write_text("text\n")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(ServiceFailed, match="OpenInVM in work: exit status 9"):
        files.open_in_vm(qrexec, "work", tmp_path / "note.txt")
    assert (tmp_path / "note.txt").read_text() == "text\n"
    assert sorted(os.listdir(tmp_path)) == before


def test_all_vms_hear_of_the_sleep_and_who_fails_holds_up_nobody(vms: StandIn, qrexec: Qrexec) -> None:
    for vm in ("net", "work"):
        for service in (suspend.PRE_ALL, suspend.PRE, suspend.POST, suspend.POST_ALL):
            vms.handler(vm, service, f"echo {vm} {service} $QREXEC_USER >> {vms.folder}/told")
    vms.handler("bad", suspend.PRE_ALL, "exit 3")
    (vms.folder / "vms/older").mkdir()
    failures = suspend.before(qrexec, ["work", "net", "bad", "older", "gone"], ["net"])
    assert [(f.vm, f.service, type(f.error)) for f in failures] == [
        ("bad", suspend.PRE_ALL, ServiceFailed),
        ("gone", suspend.PRE_ALL, VMNotRunning),
    ]
    assert suspend.after(qrexec, ["work", "net"], ["net"]) == []
    told = (vms.folder / "told").read_text().splitlines()
    assert sorted(told[:2]) == [f"net {suspend.PRE_ALL} root", f"work {suspend.PRE_ALL} root"]
    assert told[2:4] == [f"net {suspend.PRE} root", f"net {suspend.POST} root"]
    assert sorted(told[4:]) == [f"net {suspend.POST_ALL} root", f"work {suspend.POST_ALL} root"]


def test_the_network_is_asked_as_root_where_a_vm_can_do_that(vms: StandIn, qrexec: Qrexec) -> None:
    vms.handler("net", timesync.SERVICE, f"echo $QREXEC_USER > {vms.folder}/asked")
    timesync.sync_ntp_clock(qrexec, "net")
    assert (vms.folder / "asked").read_text() == "root\n"
    vms.handler("work", "some.Other", "true")
    with pytest.raises(ServiceNotFound):
        timesync.sync_ntp_clock(qrexec, "work")


def test_a_command_gets_its_very_arguments_and_its_status_comes_back(work: Path, qrexec: Qrexec) -> None:
    output = commands.execute(qrexec, "work", ["sh", "-c", 'printf "%s|" "$@"; exit 7', "sh", "a b", "ż", "-x", ""])
    assert (output.status, output.untrusted_stdout) == (7, "a b|ż|-x||".encode())
    with pytest.raises(ServiceFailed, match="sh in work: exit status 7"):
        output.checked()


def test_a_shell_gets_its_script_and_then_the_input(work: Path, qrexec: Qrexec) -> None:
    output = commands.shell(qrexec, "work", "cat; exit 5\n", stdin=b"input")
    assert (output.status, output.untrusted_stdout) == (5, b"input")
    assert commands.shell(qrexec, "work", "pwd", root=True).untrusted_stdout == f"{work}/home/user\n".encode()


#: By the shell's script: its status, and what it says of the input "echo ran\n".
ENDS = {
    "a here-document": ("cat <<EOF\nkey=value\nEOF\n", 0, b"key=value\n"),
    "a comment": ("true # keep the input", 0, b""),
    "a comment after what reads": ("cat # the input", 0, b"echo ran\n"),
    "a backslash": ("echo done \\", 0, b"done \\\n"),
    "a command left in the background": ("true &", 0, b""),
    "a semicolon": ("echo done;", 0, b"done\n"),
    "an exit": ("exit 7", 7, b""),
    "an exit of an inner shell": ("(exit 9)", 9, b""),
    "more lines after one that reads": ("cat\necho '$HOME'", 0, b"echo ran\n$HOME\n"),
    "a byte that is no text": ("printf %s '\udcff'", 0, b"\xff"),
}


@pytest.fixture(params=["bash", "the plain shell"])
def shell_of_work(request: pytest.FixtureRequest, work: Path) -> str:
    """Which shell the VM called work has for commands."""
    if request.param != "bash":
        (work / "bin/bash").unlink()
    return str(request.param)


@pytest.mark.parametrize(("script", "status", "said"), ENDS.values(), ids=ENDS)
def test_whatever_a_script_ends_with_its_status_comes_back_and_its_input_is_not_run(
    shell_of_work: str, qrexec: Qrexec, script: str, status: int, said: bytes
) -> None:
    output = commands.shell(qrexec, "work", script, stdin=b"echo ran\n")
    if shell_of_work != "bash":
        assert b"ran" not in output.untrusted_stdout.splitlines()
        # Some plain shells (dash) read the input for themselves, before the script's commands can.
        said, output = said.removeprefix(b"echo ran\n"), commands.shell(qrexec, "work", script)
    assert (output.status, output.untrusted_stdout, output.stderr) == (status, said, "")


@pytest.mark.parametrize(("script", "status"), [("if", 2), ("-x", 127)])
def test_what_is_no_script_is_told_by_the_shell_and_its_input_is_not_run(
    shell_of_work: str, qrexec: Qrexec, script: str, status: int
) -> None:
    output = commands.shell(qrexec, "work", script, stdin=b"echo ran\n")
    assert (output.status, output.untrusted_stdout) == (status, b"")
    assert output.stderr


def test_a_program_that_is_missing_is_no_missing_service(vms: StandIn, work: Path, qrexec: Qrexec) -> None:
    output = commands.execute(qrexec, "work", ["no-such-program"])
    assert output.status == 127
    assert "no-such-program" in output.stderr
    vms.handler("bare", "some.Other", "true")
    with pytest.raises(ServiceNotFound, match=r"qubes\.VMExec in bare: there is no such service, nor qubes\.VMShell"):
        commands.execute(qrexec, "bare", ["true"])


@pytest.mark.parametrize("status", [126, 127])
def test_a_command_that_ends_as_a_missing_service_would_runs_once(
    vms: StandIn, work: Path, qrexec: Qrexec, status: int
) -> None:
    script = f"echo >>{vms.folder}/ran; exit {status}"
    assert commands.execute(qrexec, "work", ["sh", "-c", script]).status == status
    assert commands.execute(qrexec, "work", ["true"]).status == 0
    assert commands.shell(qrexec, "work", script).status == status
    assert (vms.folder / "ran").read_text() == "\n\n"
    assert vms.ran() == [*[commands.EXEC] * 3, *[commands.SHELL] * 2]


@pytest.fixture
def old(vms: StandIn) -> Path:
    """The root folder of the running VM called old, where commands can be run by qubes.VMShell alone."""
    root = vms.machine("old")
    for service in (commands.EXEC, commands.EXEC_GUI, commands.ROOT_EXEC, commands.ROOT_SHELL):
        (vms.folder / "vms/old" / service).unlink()
    return root


#: What its caller hears where a handler is not there: of R4.1 and later; of R4.0, by the shells of Fedora and Debian.
NOT_THERE = {
    "said by the status": "",
    "said by bash": "/bin/sh: /etc/qubes-rpc/qubes.VMExec: No such file or directory",
    "said by dash": "/bin/sh: 0: Can't open /etc/qubes-rpc/qubes.VMExec",
}


@pytest.mark.parametrize("said", NOT_THERE.values(), ids=NOT_THERE)
def test_a_vm_that_runs_no_programs_runs_them_by_its_shell(vms: StandIn, old: Path, qrexec: Qrexec, said: str) -> None:
    vms.handler("old", commands.EXEC, f'echo >>{vms.folder}/asked; printf %s "{said}" >&2; exit 127')
    argv = ["sh", "-c", 'cat; printf "%s|" "$@"; exit 7', "sh", "a b", "ż", "-x", "", "$HOME", "`id`", "'; exit 5;\n#'"]
    for _ in range(2):
        output = commands.execute(qrexec, "old", argv, stdin=b"input\n", name="the probe")
        assert output.status == 7
        assert output.untrusted_stdout == "input\na b|ż|-x||$HOME|`id`|'; exit 5;\n#'|".encode()
    # A second time only for what does nothing, where the status alone may be a command's.
    assert (vms.folder / "asked").read_text() == ("\n" if said else "\n\n")
    with pytest.raises(ServiceFailed, match="the probe in old: exit status 7"):
        output.checked()


@pytest.mark.parametrize("bash", [True, False], ids=["bash", "the plain shell"])
def test_every_byte_but_nul_goes_through_that_shell(old: Path, qrexec: Qrexec, bash: bool) -> None:
    if not bash:
        (old / "bin/bash").unlink()
    every = bytes(range(1, 256))
    output = commands.execute(qrexec, "old", ["printf", "%s", every, every.decode("utf-8", "surrogateescape")])
    assert output.untrusted_stdout == every * 2


def test_a_program_that_is_missing_there_is_told_by_that_shell(old: Path, qrexec: Qrexec) -> None:
    for program in ("no-such-program", "-a", "exit", "A=b"):
        output = commands.execute(qrexec, "old", [program, "0"])
        assert output.status == 127
        assert program in output.stderr


def test_the_user_of_that_shell_is_the_one_asked_for(vms: StandIn, qrexec: Qrexec) -> None:
    vms.handler("old", commands.SHELL, 'cat >/dev/null; echo "$QREXEC_USER $1"')
    for gui, root, said in (
        (False, False, "DEFAULT "),
        (False, True, "root "),
        (True, False, "DEFAULT WaitForSession"),
    ):
        output = commands.execute(qrexec, "old", ["true"], gui=gui, root=root)
        assert output.untrusted_stdout.decode() == f"{said}\n"
    assert commands.shell(qrexec, "old", "true", root=True).untrusted_stdout == b"root \n"


def test_root_is_asked_for_by_name_where_no_service_of_the_vm_makes_itself_root(
    vms: StandIn, work: Path, qrexec: Qrexec
) -> None:
    (vms.folder / "vms/work" / commands.ROOT_EXEC).unlink()
    assert commands.execute(qrexec, "work", ["printenv", "QREXEC_USER"], root=True).untrusted_stdout == b"root\n"


def test_who_is_not_dom0_leaves_root_to_the_policy(vms: StandIn, work: Path) -> None:
    (vms.folder / "vms/work" / commands.ROOT_EXEC).unlink()
    qrexec = Qrexec(vms.client_vm)
    output = commands.execute(qrexec, "work", ["printenv", "QREXEC_SERVICE_FULL_NAME"], root=True)
    assert output.untrusted_stdout == b"qubes.VMRootShell\n"
    vms.handler("old", commands.SHELL, "true")
    with pytest.raises(
        ServiceNotFound, match=r"qubes\.VMRootExec in old: there is no such service, nor qubes.VMRootShell"
    ):
        commands.execute(qrexec, "old", ["true"], root=True)


@pytest.mark.parametrize("argv", [[], [""], ["a\0b"], "ls"])
def test_what_is_no_command_is_refused_before_the_call(vms: StandIn, qrexec: Qrexec, argv: list[str] | str) -> None:
    with pytest.raises(InvalidValue):
        commands.execute(qrexec, "nobody", argv)


def archive(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name.replace("__", "/"))
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def test_a_backup_is_kept_and_comes_back(work: Path, qrexec: Qrexec, tmp_path: Path) -> None:
    folder = work / "home/user/backups"
    folder.mkdir()
    data = archive(header=b"version=4\n", private=os.urandom(200_000))
    seen = []
    backup.backup(qrexec, "work", f"{folder}", io.BytesIO(data), progress=lambda sent, _: seen.append(sent))
    (kept,) = folder.iterdir()
    assert kept.read_bytes() == data
    assert seen[-1] == len(data) + len(f"{folder}\n")
    came = backup.restore(qrexec, "work", f"{kept}", tmp_path / "back")
    assert sorted(came.files) == ["header", "private"]
    assert (tmp_path / "back/header").read_bytes() == b"version=4\n"
    one = backup.restore(qrexec, "work", f"{kept}", tmp_path / "one", ["header"], single=True)
    assert one.total_bytes == 10
    assert (tmp_path / "one").read_bytes() == b"version=4\n"


@pytest.mark.parametrize("limits", [Limits(total_bytes=5), Limits(entries=1)], ids=["bytes", "entries"])
def test_more_than_is_taken_leaves_nothing_behind(work: Path, qrexec: Qrexec, tmp_path: Path, limits: Limits) -> None:
    (work / "home/user/b.tar").write_bytes(archive(a=b"123", b=b"456"))
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(RemoteProtocolError, match=r"qubes.Restore in work: 'b': more than"):
        backup.restore(qrexec, "work", f"{work}/home/user/b.tar", tmp_path / "back", limits=limits)
    assert sorted(os.listdir(tmp_path)) == before


#: What a sender does that has sent two files, of which one is refused.
STAYS = {
    "and says nothing more": "sys.stdin.read()",
    "and hears nothing": "os.close(0)",
    "and closes all that it says by": "os.close(1); os.close(2)",
}


@pytest.mark.parametrize("stays", STAYS.values(), ids=STAYS)
def test_a_sender_that_stays_after_its_refusal_is_not_waited_for(
    vms: StandIn, qrexec: Qrexec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stays: str
) -> None:
    monkeypatch.setattr(unpack, "GRACE", 0.3)
    entries = b"".join(struct.pack("<IIQIIII", 2, 0o100600, 1, 0, 0, 0, 0) + name + b"\0x" for name in (b"a", b"b"))
    (tmp_path / "sender.py").write_text(
        f"import os, sys, time\nsys.stdin.readline()\nos.write(1, {entries!r})\n{stays}\ntime.sleep(1000)\n"
    )
    vms.handler("work", backup.RESTORE, f"exec {sys.executable} {tmp_path}/sender.py")
    started = time.monotonic()
    with pytest.raises(RemoteProtocolError, match=r"qubes.Restore in work: 'b': more than 1 bytes"):
        backup.restore(qrexec, "work", "/b", tmp_path / "back", limits=Limits(total_bytes=1), timeout=60)
    assert time.monotonic() - started < 30
    assert not list(tmp_path.glob("*back*"))


def test_a_restore_never_replaces_what_is_there(work: Path, qrexec: Qrexec, tmp_path: Path) -> None:
    (tmp_path / "back").mkdir()
    with pytest.raises(InvalidValue, match="already exists"):
        backup.restore(qrexec, "work", "/home/user/b.tar", tmp_path / "back")


@pytest.mark.parametrize("location", ["", "a\nb", "x" * 5000])
def test_what_is_no_place_for_a_backup_is_refused_before_the_call(vms: StandIn, qrexec: Qrexec, location: str) -> None:
    with pytest.raises(InvalidValue):
        backup.backup(qrexec, "nobody", location, [])
