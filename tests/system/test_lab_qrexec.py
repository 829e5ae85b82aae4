"""Qubes RPC in the lab: the real handlers called by the real command lines, in VMs of namespaces and in folders."""

from __future__ import annotations

import io
import os
import shlex
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lab.control import Lab
from lab.linux.namespaces import Isolation
from lab.paths import PROJECT, LabPaths
from tests.support.lab_store import wait_until
from tests.support.labs import client, file, handler, qrexec, running
from tests.support.stores import need
from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.deadline import Deadline
from vminterface.dom0.services import appmenus, backup, clock, commands, disk, files, session
from vminterface.errors import ServiceFailed, ServiceNotFound, VMNotRunning
from vminterface.values.volume import Volume

ISOLATION = Isolation.probe()
AS_DEFAULT = "DEFAULT:QUBESRPC {} dom0"
#: Waits for the end of its input and tells then which of its outputs poll shows as broken, and what a write meets.
WATCH = """
import os, select
outputs = select.poll()
for number in (1, 2):
    outputs.register(number, 0)
os.read(0, 1)
seen = dict(outputs.poll(20000))
told = [number for number in (1, 2) if seen.get(number, 0) & select.POLLERR]
try:
    os.write(1, b"")
except BrokenPipeError:
    told.append("EPIPE")
with open(os.environ["HOME"] + "/told", "w") as file:
    file.write(repr(told))
"""


@pytest.fixture(scope="module", params=["namespaces", "folders"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Both kinds of VMs: what holds for a service holds in either."""
    namespaces = request.param == "namespaces"
    if namespaces and not ISOLATION.vms:
        need("namespaces are not allowed here")
    with running(tmp_path_factory.mktemp("lab"), namespaces=namespaces) as made:
        yield made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """VMs of namespaces, for what folders cannot have: users of their own, a file system that begins at its root."""
    if not ISOLATION.vms:
        need("namespaces are not allowed here")
    with running(tmp_path_factory.mktemp("whole")) as made:
        yield made


def home(lab: Lab) -> Path:
    return lab.paths.root("work") / "home/user"


def has_begun(lab: Lab) -> None:
    """Wait for what a handler does at first: until then, a caller that is killed may be one whose call never came."""
    begun = home(lab) / "begun"
    assert wait_until(begun.exists)
    begun.unlink()


class TestServices:
    def test_the_clock_of_one_vm_is_set_and_no_other_one(self, lab: Lab) -> None:
        before = time.time()
        there = datetime.now(UTC) + timedelta(hours=5)
        clock.set_clock(qrexec(lab), "work", there)
        assert abs(clock.get_clock(qrexec(lab), "work") - there) < timedelta(seconds=10)
        assert abs(clock.get_clock(qrexec(lab), "personal") - datetime.now(UTC)) < timedelta(seconds=10)
        assert abs(time.time() - before) < 60
        clock.set_clock(qrexec(lab), "work", datetime.now(UTC))

    def test_applications_are_those_of_the_vm(self, lab: Lab) -> None:
        text = "[Desktop Entry]\nType=Application\nName=Of the lab\nExec=true\n"
        file(lab, "work", "/usr/local/share/applications/lab.desktop", text)
        found = {entry.id: entry.values for entry in appmenus.get(qrexec(lab), "work")}
        assert found["lab"]["Name"] == "Of the lab"
        assert "lab" not in {entry.id for entry in appmenus.get(qrexec(lab), "personal")}

    def test_a_command_gets_its_very_arguments_and_its_status_comes_back(self, lab: Lab) -> None:
        output = commands.execute(qrexec(lab), "work", ["sh", "-c", 'printf "%s|" "$@"; exit 7', "sh", "a b", "ż", ""])
        assert (output.status, output.untrusted_stdout) == (7, "a b|ż||".encode())

    def test_files_arrive_in_the_vms_home(self, lab: Lab, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        content = os.urandom(3_000_000)
        (tmp_path / "folder/large").write_bytes(content)
        files.send(qrexec(lab), "work", [tmp_path / "folder"])
        assert (home(lab) / "QubesIncoming/dom0/folder/large").read_bytes() == content

    def test_a_backup_is_kept_in_the_vm_and_comes_back(self, lab: Lab, tmp_path: Path) -> None:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            entry = tarfile.TarInfo("header")
            entry.size = 5
            tar.addfile(entry, io.BytesIO(b"hello"))
        inside = commands.shell(qrexec(lab), "work", 'mkdir -p ~/kept; cd ~/kept; printf %s "$PWD"\n').untrusted_stdout
        backup.backup(qrexec(lab), "work", inside.decode(), io.BytesIO(stream.getvalue()))
        (kept,) = (home(lab) / "kept").iterdir()
        assert kept.read_bytes() == stream.getvalue()
        backup.restore(qrexec(lab), "work", f"{inside.decode()}/{kept.name}", tmp_path / "back")
        assert (tmp_path / "back/header").read_bytes() == b"hello"

    def test_a_session_that_does_not_come_is_waited_for_as_long_as_configured(self, lab: Lab) -> None:
        configured = file(lab, "work", "/etc/vminterface/handlers.conf", "session-timeout = 1\n")
        try:
            with pytest.raises(ServiceFailed, match="not up within 1 s"):
                session.wait(qrexec(lab), "work", timeout=15)
        finally:
            configured.unlink()

    def test_a_file_system_grows_with_its_volume(self, whole: Lab) -> None:
        image = whole.paths.root("work") / "rw/private.img"
        with image.open("wb") as stream:
            stream.truncate(16 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, timeout=30)
        os.truncate(image, 32 << 20)
        configured = file(whole, "work", "/etc/vminterface/handlers.conf", "private-device = /rw/private.img\n")
        try:
            disk.resize(qrexec(whole), "work", Volume.PRIVATE)
        finally:
            configured.unlink()
        told = subprocess.run(["dumpe2fs", "-h", str(image)], capture_output=True, text=True, check=True, timeout=30)
        fields = dict(line.split(":", 1) for line in told.stdout.splitlines() if ":" in line)
        assert int(fields["Block count"]) * int(fields["Block size"]) == 32 << 20


class TestWhatAHandlerSees:
    def test_environment_argument_and_streams(self, lab: Lab) -> None:
        handler(
            lab, "work", "test.See",
            'echo "$QREXEC_REMOTE_DOMAIN $QREXEC_SERVICE_FULL_NAME $QREXEC_SERVICE_ARGUMENT $# $1 $USER"\n'
            'for n in 0 1 2; do stat -L -c %F /proc/self/fd/$n; done; [ "$(pwd)" = "$HOME" ] && echo at home',
        )  # fmt: skip
        reply = qrexec(lab).call(Call("work", "test.See", "a+b")).untrusted_stdout.decode().splitlines()
        assert reply == ["dom0 test.See+a+b a+b 1 a+b user", "socket", "socket", "fifo", "at home"]

    def test_the_user_is_the_default_one_the_callers_or_the_configurations(self, whole: Lab) -> None:
        handler(whole, "work", "test.Who", 'echo "$USER $HOME"')
        assert qrexec(whole).call(Call("work", "test.Who")).untrusted_stdout == b"user /home/user\n"
        assert qrexec(whole).call(Call("work", "test.Who", user="root")).untrusted_stdout == b"root /root\n"
        file(whole, "work", "/etc/qubes/rpc-config/test.Who", "# who\nforce-user = 'root'\n")
        assert qrexec(whole).call(Call("work", "test.Who", user="user")).untrusted_stdout == b"root /root\n"

    @pytest.mark.skipif(os.geteuid() != 0, reason="a lab that not root has brought up has one user only")
    @pytest.mark.allow_skip
    def test_the_users_number_is_its_own(self, whole: Lab) -> None:
        handler(whole, "work", "test.Id", "id -u; id -g")
        assert qrexec(whole).call(Call("work", "test.Id")).untrusted_stdout == b"1000\n1000\n"

    def test_a_program_for_the_argument_goes_before_the_general_one_wherever_they_are(self, whole: Lab) -> None:
        handler(whole, "work", "test.S", "echo general", "/run/qubes-rpc")
        handler(whole, "work", "test.S+a", "echo special", "/etc/qubes-rpc")
        assert qrexec(whole).call(Call("work", "test.S", "a")).untrusted_stdout == b"special\n"
        assert qrexec(whole).call(Call("work", "test.S", "b")).untrusted_stdout == b"general\n"
        handler(whole, "work", "test.S", "echo second", "/usr/local/etc/qubes-rpc")
        assert qrexec(whole).call(Call("work", "test.S")).untrusted_stdout == b"general\n"

    def test_a_service_that_wants_the_session_waits_for_it_unless_told_not_to(self, whole: Lab) -> None:
        handler(whole, "work", "test.Late", "cat ~/session")
        handler(whole, "work", "qubes.WaitForSession", "cat > /home/user/session; sleep 0.3")
        try:
            file(whole, "work", "/etc/qubes/rpc-config/test.Late", "wait-for-session = true\n")
            assert client(whole, "-d", "work", AS_DEFAULT.format("test.Late"))[:2] == (0, b"user\n")
            (home(whole) / "session").unlink()
            status, _, said = client(whole, "-d", "work", "DEFAULT:nogui:QUBESRPC test.Late dom0")
            assert status == 1
            assert "session" in said
        finally:
            (whole.paths.root("work") / "rw/usrlocal/etc/qubes-rpc/qubes.WaitForSession").unlink()


class TestStatus:
    def test_a_handlers_status_is_the_callers(self, lab: Lab) -> None:
        handler(lab, "work", "test.Fail", "echo why >&2; exit 42")
        assert client(lab, "-d", "work", AS_DEFAULT.format("test.Fail")) == (42, b"", "why\n")

    def test_one_that_was_killed_is_told_with_the_signal(self, lab: Lab) -> None:
        handler(lab, "work", "test.Die", "kill -TERM $$")
        assert client(lab, "-d", "work", AS_DEFAULT.format("test.Die"))[0] == 128 + 15

    def test_no_such_service_and_no_such_vm(self, lab: Lab) -> None:
        with pytest.raises(ServiceNotFound):
            qrexec(lab).call(Call("work", "test.Missing"))
        with pytest.raises(VMNotRunning):
            qrexec(lab).call(Call("nobody", "qubes.GetDate"))

    @pytest.mark.parametrize(
        "line",
        ["QUBESRPC test.S dom0", "user:QUBESRPC  test.S dom0", "user:QUBESRPC test.S", "user:QUBESRPC +a dom0",
         f"user:QUBESRPC {'s' * 256} dom0", "stranger:QUBESRPC qubes.GetDate dom0"],
        ids=["no user", "two spaces", "no source", "no name", "long name", "unknown user"],
    )  # fmt: skip
    def test_what_is_no_command_is_a_problem_of_qrexec(self, lab: Lab, line: str) -> None:
        assert client(lab, "-d", "work", line)[0] == 125

    @pytest.mark.parametrize(
        "text",
        ["wait-for-session = yes\n", "force-user = root\n", "[a]\n", "wait-for-session = 1\nwait-for-session = 1\n"],
    )
    def test_a_configuration_that_is_none_ends_the_call(self, lab: Lab, text: str) -> None:
        handler(lab, "work", "test.Configured", "echo ran")
        configured = file(lab, "work", "/etc/qubes/rpc-config/test.Configured", text)
        assert client(lab, "-d", "work", AS_DEFAULT.format("test.Configured"))[:2] == (125, b"")
        configured.write_text("unknown-key = true # but well-formed\r\n")
        assert client(lab, "-d", "work", AS_DEFAULT.format("test.Configured"))[:2] == (0, b"ran\n")

    def test_a_wrong_command_line_is_explained(self, lab: Lab) -> None:
        assert client(lab)[0] == 1
        assert "usage" in client(lab, "-d", "work")[2]


class TestStreams:
    def test_a_local_program_is_the_other_end_of_the_streams(self, lab: Lab, tmp_path: Path) -> None:
        handler(lab, "work", "test.Talk", 'echo question; read answer; echo "$answer" > "$HOME/answer"')
        status, _, _ = client(lab, "-d", "work", "-l", "read x; echo got $x", AS_DEFAULT.format("test.Talk"))
        assert status == 0
        assert (home(lab) / "answer").read_text() == "got question\n"

    def test_what_a_terminal_would_obey_is_filtered_if_asked(self, lab: Lab) -> None:
        handler(lab, "work", "test.Evil", r"printf 'a\033[2Jb\n'; printf 'c\033d' >&2")
        said = client(lab, "-d", "work", "-t", "-T", AS_DEFAULT.format("test.Evil"))
        assert said == (0, b"a_[2Jb\n", "c_d")
        assert client(lab, "-d", "work", AS_DEFAULT.format("test.Evil"))[1] == b"a\x1b[2Jb\n"

    def test_a_handler_outlives_its_caller_and_finds_its_streams_ended(self, lab: Lab) -> None:
        begins = ': > "$HOME/begun"; '
        handler(lab, "work", "test.Alone", f'{begins}cat >/dev/null; sleep 0.3; echo over > "$HOME/over"')
        words = [str(lab.paths.programs / "qrexec-client"), "-d", "work", AS_DEFAULT.format("test.Alone")]
        caller = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        has_begun(lab)
        assert not (home(lab) / "over").exists()
        caller.kill()
        caller.communicate()
        end = time.monotonic() + 30
        while not (home(lab) / "over").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        (home(lab) / "over").unlink()

    def test_a_poll_of_stderr_alone_shows_that_the_caller_has_gone(self, lab: Lab) -> None:
        """As the real agent does it: stdin ends, stdout is shut down for reading, stderr is closed."""
        handler(lab, "work", "test.Watch", f': > "$HOME/begun"; exec {sys.executable} -c {shlex.quote(WATCH)}')
        words = [str(lab.paths.programs / "qrexec-client"), "-d", "work", AS_DEFAULT.format("test.Watch")]
        caller = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        has_begun(lab)
        caller.kill()
        caller.communicate()
        end = time.monotonic() + 30
        while not (home(lab) / "told").exists() or not (home(lab) / "told").read_text():
            assert time.monotonic() < end
            time.sleep(0.05)
        assert (home(lab) / "told").read_text() == "[2, 'EPIPE']"
        (home(lab) / "told").unlink()

    def test_a_backup_whose_caller_is_killed_is_not_kept(self, lab: Lab) -> None:
        words = [str(lab.paths.programs / "qrexec-client"), "-d", "work", AS_DEFAULT.format("qubes.Backup")]
        caller = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert caller.stdin is not None
        folder = home(lab) / "backups"
        folder.mkdir()
        folder.chmod(0o777)
        caller.stdin.write(b"backups\n" + bytes(5 << 20))
        caller.stdin.flush()
        end = time.monotonic() + 20
        while not list(folder.iterdir()):
            assert time.monotonic() < end
            time.sleep(0.02)
        caller.kill()
        caller.communicate()
        while list(folder.iterdir()):
            assert time.monotonic() < end, list(folder.iterdir())
            time.sleep(0.05)
        folder.rmdir()

    def test_many_calls_at_once_keep_their_streams_apart(self, lab: Lab) -> None:
        handler(lab, "work", "test.Echo", "cat")
        data = [os.urandom(100_000) for _ in range(16)]
        replies = qrexec(lab).call_many(Call("work", "test.Echo", stdin=one) for one in data)
        assert [reply.untrusted_stdout for reply in replies] == data  # type: ignore[union-attr]

    def test_a_paused_vm_answers_when_it_goes_on_or_the_caller_gives_up(self, lab: Lab) -> None:
        lab.ask("pause", "personal")
        try:
            began = time.monotonic()
            status, _, said = client(lab, "-d", "personal", "-w", "1", AS_DEFAULT.format("qubes.GetDate"))
            assert (status, "timeout" in said) == (125, True)
            assert 0.9 < time.monotonic() - began < 5
        finally:
            threading.Timer(0.5, lambda: lab.ask("unpause", "personal")).start()
        assert client(lab, "-d", "personal", AS_DEFAULT.format("qubes.GetDate"))[0] == 0


def test_a_call_in_a_vm_that_is_stopped_ends_as_a_problem_of_qrexec(lab: Lab) -> None:
    caller = subprocess.Popen(
        [str(lab.paths.programs / "qrexec-client"), "-d", "personal", AS_DEFAULT.format("qubes.VMShell")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert caller.stdin is not None
    assert caller.stdout is not None
    caller.stdin.write(b"echo begun\n")
    caller.stdin.flush()
    assert caller.stdout.readline() == b"begun\n"
    lab.ask("restart", "personal")
    lab.wait_for_agents(Deadline.after(60))
    _, said = caller.communicate(timeout=20)
    assert caller.returncode == 125
    assert b"was closed" in said
    assert client(lab, "-d", "personal", AS_DEFAULT.format("qubes.GetDate"))[0] == 0


class TestFromVMToVM:
    @staticmethod
    def call(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
        program = "/opt/bin/qrexec-client-vm"
        if not lab.ask("status")["namespaces"]:
            program = str(lab.paths.root("work")) + program
        return lab.run("work", program, *words)

    @pytest.mark.parametrize("action", ["deny", "ask", ""])
    def test_without_a_word_from_the_policy_it_is_refused(self, lab: Lab, action: str) -> None:
        rule = f"test.Who * work personal {action}\n" if action else ""
        lab.paths.policy.write_text(rule)
        handler(lab, "personal", "test.Who", 'echo "$QREXEC_REMOTE_DOMAIN"')
        done = self.call(lab, "personal", "test.Who")
        assert (done.returncode, done.stdout, done.stderr) == (126, "", "Request refused\n")

    def test_an_allowed_call_tells_the_handler_who_calls(self, lab: Lab) -> None:
        lab.paths.policy.write_text("test.Who +a work personal allow\ntest.Who * @anyvm @anyvm deny\n")
        handler(lab, "personal", "test.Who", 'echo "$QREXEC_REMOTE_DOMAIN"')
        assert self.call(lab, "personal", "test.Who+a").stdout == "work\n"
        assert self.call(lab, "personal", "test.Who+b").returncode == 126

    def test_the_policy_chooses_user_and_target(self, whole: Lab) -> None:
        whole.paths.policy.write_text("test.Who * work @default allow user=root target=personal\n")
        handler(whole, "personal", "test.Who", 'hostname; echo "$USER"')
        assert self.call(whole, "@default", "test.Who").stdout == "personal\nroot\n"

    def test_a_policy_that_cannot_be_read_refuses_everything(self, lab: Lab) -> None:
        lab.paths.policy.write_text("test.Who * work personal allow\nnonsense\n")
        assert self.call(lab, "personal", "test.Who").returncode == 126
        assert "'nonsense' is no rule" in lab.paths.log.read_text()

    def test_what_a_vm_sends_beside_a_request_harms_nobody(self, lab: Lab) -> None:
        place = lab.paths.root("work") / "run/qubes/qrexec-agent.sock"
        for data in (b"", b"\xff", b"[]", b"{}", b'{"target": 1, "descriptor": {}}', b"x" * 100_000):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stream:
                stream.settimeout(5)
                stream.connect(str(place))
                stream.send(data)
                if data:
                    assert b"status" in stream.recv(4096)
        assert clock.get_clock(qrexec(lab), "work")


def test_a_lab_in_a_user_namespace_knows_one_user_who_stands_for_all(tmp_path: Path) -> None:
    if not ISOLATION.vms:
        need("namespaces are not allowed here")
    lab = Lab(LabPaths.find(str(tmp_path / "l")))
    listed = tmp_path / "vms.json"
    listed.write_text('[{"name": "work"}]')
    words = [sys.executable, "-m", "lab", "--dir", str(lab.paths.folder), "up", "--vms", str(listed)]
    variables = {**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / '_utils'}"}
    up = ["unshare", "--user", "--map-root-user", *words]
    try:
        done = subprocess.run(up, capture_output=True, text=True, timeout=60, env=variables, check=False)
        assert done.returncode == 0, done.stderr
        handler(lab, "work", "test.Id", 'id -u; echo "$USER"; pwd')
        assert qrexec(lab).call(Call("work", "test.Id")).untrusted_stdout == b"0\nuser\n/home/user\n"
        assert qrexec(lab).call(Call("work", "qubes.GetDate")).status == 0
    finally:
        lab.down()


def test_the_programs_are_found_where_programs_are_looked_for(lab: Lab) -> None:
    assert Qrexec().call(Call("work", "qubes.GetDate")).status == 0
