"""The command line does what it says on the real xenstored, and its exit status tells what came of it."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import fakexen
from tests.support.dom0 import Dom0
from tests.support.faultyqubesdb import FaultyDaemon
from tests.support.qubesdb import Daemons

pytestmark = pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing())

LIBRARY = str(Path(__file__).parents[2] / "_utils")
PILLAR = "qubes:\n  vms:\n    work: {timezone: Europe/Warsaw, services: {cups: on}}\n    idle: {timezone: UTC}\n"


@pytest.fixture
def dom0(tmp_path: Path) -> Iterator[Dom0]:
    with Dom0(tmp_path / "x") as host:
        host.start_vm("work")
        host.agent("work")
        yield host


@pytest.fixture
def pillar(tmp_path: Path) -> str:
    file = tmp_path / "pillar.yaml"
    file.write_text(PILLAR)
    return str(file)


def vminterface(
    dom0: Dom0 | None, *words: str, stdin: str = "", before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": LIBRARY, "XENSTORED_PATH": dom0.path if dom0 else "/nonexistent"}
    command = [sys.executable, "-m", "vminterface", *words]
    return subprocess.run(
        command, env=env, input=stdin, capture_output=True, text=True, timeout=30, check=False, preexec_fn=before
    )


def test_help_names_every_command():
    done = vminterface(None, "--help")
    assert done.returncode == 0
    for command in ("get", "set", "diff", "push", "services", "watch", "agent"):
        assert f"\n    {command} " in done.stdout


def test_services_lists_what_qubes_has_and_what_a_vm_has_of_it(dom0):
    every = vminterface(None, "services")
    assert every.returncode == 0
    assert re.search(r"^cups +prints$", every.stdout, re.MULTILINE)
    assert re.search(r"^qubes-firewall +applies .*; on in ProxyVM, NetVM$", every.stdout, re.MULTILINE)
    assert vminterface(dom0, "set", "work", "services:cups=on", "services:own=off", "confirm=no").returncode == 0
    shown = json.loads(vminterface(dom0, "services", "work", "--json").stdout)
    assert shown["cups"] == {"does": "prints", "on_in": [], "state": "on"}
    assert shown["own"] == {"does": "", "on_in": [], "state": "off"}
    assert shown["crond"]["state"] == "default"


@pytest.mark.parametrize("command", ["push", "diff", "watch"])
def test_help_says_that_monitors_are_left_out(command):
    assert "monitors" in vminterface(None, command, "--help").stdout


@pytest.mark.parametrize("command", ["push", "diff"])
def test_a_pillar_that_wants_nothing_is_said_to(dom0, tmp_path, command):
    (tmp_path / "none.yaml").write_text("qubes: {vms: {}}")
    done = vminterface(dom0, command, "--pillar", str(tmp_path / "none.yaml"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 VMs: nothing to do\n", "")


WRONG_CALLS = {
    ("frobnicate",): "invalid choice: 'frobnicate'",
    ("push",): "the following arguments are required: --pillar (see vminterface push --help)",
    ("get", "work", "--loud"): "unrecognized arguments: --loud",
    ("set", "work"): "required: FIELD=VALUE",
    ("set", "work", "timezone", "Asia/Tokyo"): "'timezone' is not FIELD=VALUE (such as timezone=Europe/Warsaw)",
    ("set", "work", "=UTC"): "'=UTC' is not FIELD=VALUE",
    ("set", "work", "timezone=UTC", "--timeout", "soon"): "argument --timeout: invalid float value: 'soon'",
    ("set", "work", "network=none", "network:ip=10.0.0.1"): "'network' is given as a whole and by part",
    ("set", "work", "network:ip=10.0.0.1", "network=none"): "'network' is given as a whole and by part",
    ("set", "work", "services=on", "services:cups=on"): "'services' is given as a whole and by part",
    ("set", "work", "timezone=UTC", "timezone=Asia/Tokyo"): "'timezone' is given twice",
    ("set", "work", "services:cups=on", "services:cups=off"): "'services:cups' is given twice",
    ("monitors", "--pillar", "x"): "--pillar: expected the name of a VM, too",
}


@pytest.mark.parametrize("words", WRONG_CALLS, ids=" ".join)
def test_a_wrong_call_is_one_line_and_status_2(words):
    done = vminterface(None, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert WRONG_CALLS[words] in done.stderr
    assert done.stderr.startswith("vminterface: ")
    assert len(done.stderr.splitlines()) == 1
    as_json = vminterface(None, *words, "--json")
    assert (as_json.returncode, as_json.stderr) == (2, "")
    assert json.loads(as_json.stdout) == {"error": done.stderr.removeprefix("vminterface: ").rstrip("\n")}


@pytest.mark.parametrize(
    "words",
    [("get",), ("set", "work", "timezone=UTC"), ("push", "--pillar", "{}"), ("diff", "--pillar", "{}"), ("report",)],
    ids=" ".join,
)
def test_with_json_an_error_is_an_object_on_stdout_and_the_status_the_same(pillar, words):
    words = tuple(word.format(pillar) if word == "{}" else word for word in words)
    plain, as_json = vminterface(None, *words), vminterface(None, *words, "--json")
    assert (plain.returncode, plain.stdout) == (1, "")
    assert plain.stderr.startswith("vminterface: ")
    assert (as_json.returncode, as_json.stderr) == (1, "")
    error = json.loads(as_json.stdout)
    assert error == {"error": plain.stderr.removeprefix("vminterface: ").rstrip("\n")}


def test_with_json_every_line_of_a_pillars_errors_is_in_the_object(tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("qubes:\n  vms:\n    work: {timezone: Mars/Olympus, debug: maybe}\n")
    done = vminterface(None, "diff", "--pillar", str(file), "--json")
    assert (done.returncode, done.stderr) == (1, "")
    assert [line.split(": ")[0] for line in json.loads(done.stdout)["error"].splitlines()] == [
        "qubes:vms:work:timezone",
        "qubes:vms:work:debug",
    ]


def test_every_command_that_prints_a_result_takes_json():
    with_json = {
        command
        for command in ("get", "set", "diff", "push", "call", "monitors", "report", "handlers", "agent", "watch")
        if "--json" in vminterface(None, command, "--help").stdout
    }
    assert with_json == {"get", "set", "diff", "push", "call", "monitors", "report", "handlers"}


def test_set_then_get(dom0):
    done = vminterface(dom0, "set", "work", "timezone=Asia/Tokyo", "services:cups=on")
    assert (done.returncode, done.stderr) == (0, "")
    assert "work: services:cups, timezone set" in done.stdout
    assert "work: timezone: default -> Asia/Tokyo" in done.stdout
    got = vminterface(dom0, "get", "work", "timezone", "services:cups", "--json")
    assert json.loads(got.stdout) == {"work": {"timezone": "Asia/Tokyo", "services:cups": "on"}}
    again = vminterface(dom0, "set", "work", "timezone=Asia/Tokyo")
    assert "already as configured" in again.stdout


@pytest.mark.parametrize("words", [["get"], ["set"], ["report"]], ids=lambda words: words[0])
@pytest.mark.parametrize("vm", ["dom0", "Domain-0"])
def test_dom0_is_no_vm(dom0, words, vm):
    before = dom0.dump()
    done = vminterface(dom0, *words, vm, *(["timezone=Asia/Tokyo"] if words == ["set"] else []))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"'{vm}' is dom0 itself, which is no VM (expected a VM's name)\n")
    assert len(done.stderr.splitlines()) == 1
    assert dom0.dump() == before


def test_set_takes_a_whole_network(dom0):
    done = vminterface(
        dom0, "set", "work", "network:ip=10.137.0.12", "network:gateway=10.137.0.5", "network:dns=10.139.1.1,10.139.1.2"
    )
    assert done.returncode == 0
    assert dom0.read("work", "qubes-secondary-dns") == "10.139.1.2"


def test_set_takes_the_options_of_a_push(dom0):
    dom0.start_vm("silent")
    done = vminterface(
        dom0, "set", "silent", "debug=on", "confirm=no", "persist=false", "timeout=10", "channel=xenstore"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert dom0.read("silent", "qubes-debug-mode") == "1"
    done = vminterface(dom0, "set", "idle", "debug=on", "require_running=OFF")
    assert (done.returncode, done.stderr) == (0, "")


def test_get_shows_every_running_vm(dom0):
    dom0.start_vm("other")
    assert set(json.loads(vminterface(dom0, "get", "--json").stdout)) == {"work", "other"}


def test_get_shows_the_others_where_one_vms_qubesdb_cannot_be_read(tmp_path, monkeypatch):
    with Daemons(tmp_path / "q", "work") as daemons:
        monkeypatch.setenv("VMINTERFACE_QUBESDB_DIR", str(daemons.folder))
        with daemons.dom0("work") as store:
            store.write("/qubes-timezone", b"UTC")
        for words in ((), ("--json",), ("bad",), ("bad", "--json")):
            daemon = FaultyDaemon(str(daemons.folder / "qubesdb.bad.sock"), lambda stream, answer: None)
            try:
                done = vminterface(None, "get", *words)
            finally:
                daemon.stop()
                (daemons.folder / "qubesdb.bad.sock").unlink()
            assert done.returncode == 1
            if "--json" in words:
                data = json.loads(done.stdout)
                error = data["error"] if "bad" in words else data.pop("bad")["error"]
                assert "bad" in words or data == {"work": {"timezone": "UTC"}}
                assert done.stderr == ""
            else:
                assert done.stdout == ("" if words else "work: timezone: UTC\n")
                (error,) = done.stderr.splitlines()
            assert error.removeprefix("vminterface: ").startswith("bad: ")


@pytest.mark.parametrize("command", ["push", "diff", "watch"])
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("qubes: {type: admin}", "qubes:vms: is not in {file} (expected a mapping of VMs to their settings, "),
        ("{}", "qubes:vms: is not in {file} (expected a mapping of VMs to their settings, "),
        ("qubes: {vm: {work: {timezone: UTC}}}", "qubes:vm: unknown field (did you mean 'vms'?)"),
        ("qubes: {work: {timezone: UTC}}", "qubes:work: a VM's settings, in the wrong place"),
    ],
)
def test_a_pillar_that_is_missing_or_misspelt_is_one_line(dom0, tmp_path, command, text, sentence):
    file = tmp_path / "other.yaml"
    file.write_text(text)
    done = vminterface(dom0, command, "--pillar", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"vminterface: {sentence.format(file=file)}")
    assert len(done.stderr.splitlines()) == 1


def test_diff_has_status_3_while_there_is_drift_and_0_after_the_push(dom0, pillar):
    drift = vminterface(dom0, "diff", "--pillar", pillar)
    assert drift.returncode == 3
    assert "work: timezone: default -> Europe/Warsaw" in drift.stdout
    assert dom0.read("work", "qubes-timezone") is None
    assert vminterface(dom0, "push", "--pillar", pillar).returncode == 0
    assert dom0.read("work", "qubes-timezone") == "Europe/Warsaw"
    assert vminterface(dom0, "diff", "--pillar", pillar).returncode == 0


def test_push_reads_json_as_salt_prints_it_from_standard_input(dom0):
    pillar = json.dumps({"local": {"qubes": {"vms": {"work": {"debug": True}}}}})
    assert vminterface(dom0, "push", "--pillar", "-", stdin=pillar).returncode == 0
    assert dom0.read("work", "qubes-debug-mode") == "1"


def test_where_no_thread_can_be_started_it_says_so_in_one_sentence(dom0, pillar):
    def no_room_for_threads() -> None:
        resource.setrlimit(resource.RLIMIT_STACK, (8 << 30, 8 << 30))
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

    done = vminterface(dom0, "push", "--pillar", pillar, before=no_room_for_threads)
    assert done.returncode == 1
    assert done.stderr.startswith("vminterface: this process gets no more memory or threads (expected more: ")
    assert len(done.stderr.splitlines()) == 1
    assert dom0.read("work", "qubes-timezone") is None


def test_push_of_one_vm_leaves_the_others_alone(dom0, pillar):
    dom0.start_vm("idle")
    assert vminterface(dom0, "push", "--pillar", pillar, "work").returncode == 0
    assert dom0.read("idle", "qubes-timezone") is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("set", "work", "timezone=Mars/Olympus"), "work:timezone: "),
        (("set", "work", "tiemzone=UTC"), "did you mean 'timezone'?"),
        (("set", "work", "persist=maybe"), "work:persist: expected true or false, found 'maybe'"),
        (("set", "work", "timeout=soon"), "work:timeout: expected seconds, more than 0 and at most 3600, found 'soon'"),
        (("set", "nobody", "timezone=UTC"), "nobody is not running"),
        (("get", "nobody"), "nobody: no running VM"),
        (("get", "work", "network:ip"), "work: no key for network:ip"),
        (("push", "--pillar", "/nonexistent"), "/nonexistent: cannot be read"),
    ],
)
def test_what_is_refused_is_one_line_and_status_1(dom0, words, said):
    done = vminterface(dom0, *words)
    assert done.returncode == 1
    assert said in done.stdout + done.stderr
    assert len((done.stdout + done.stderr).splitlines()) == 1


def test_every_fault_of_a_pillar_is_a_line(dom0, tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("qubes:\n  vms:\n    work: {timezone: Mars/Olympus, debug: maybe}\n")
    done = vminterface(dom0, "push", "--pillar", str(file))
    assert done.returncode == 1
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [
        "qubes:vms:work:timezone",
        "qubes:vms:work:debug",
    ]


def test_yaml_that_is_none_names_the_line(dom0, tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("qubes:\n  vms: [\n")
    done = vminterface(dom0, "diff", "--pillar", str(file))
    assert done.returncode == 1
    assert f"{file}:3: is no YAML" in done.stderr


def test_no_xenstore_is_one_line():
    done = vminterface(None, "get", "work")
    assert done.returncode == 1
    assert done.stderr.startswith("vminterface: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_agent_applies_what_dom0_pushes_and_ends_on_sigterm(dom0, tmp_path):
    dom0.start_vm("real")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    for zone in ("Asia/Tokyo", "Asia/Seoul"):
        (root / "usr/share/zoneinfo" / zone).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(f"/usr/share/zoneinfo/{zone}", root / "usr/share/zoneinfo" / zone)
    env = {**os.environ, "PYTHONPATH": LIBRARY, "XENSTORED_PATH": dom0.daemon.socket(dom0.domids["real"])}
    agent = subprocess.Popen([sys.executable, "-m", "vminterface", "agent", "--root", str(root)], env=env)
    try:
        done = vminterface(dom0, "set", "real", "timezone=Asia/Tokyo", "services:cups=on")
        assert done.returncode == 0, done.stdout + done.stderr
        deadline = time.monotonic() + 5
        while dom0.read("real", "vminterface/agent") is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert vminterface(dom0, "set", "real", "timezone=Asia/Seoul").returncode == 0
        assert os.readlink(root / "etc/localtime").endswith("zoneinfo/Asia/Seoul")
        assert (root / "run/qubes-service/cups").exists()
    finally:
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(5) == 0
    assert dom0.read("real", "vminterface/agent") is None
