"""The command line does what it says on the real xenstored, and its exit status tells what came of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import fakexen
from tests.support.dom0 import Dom0
from tests.support.faultyqubesdb import FaultyDaemon

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


def vminterface(dom0: Dom0 | None, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": LIBRARY, "XENSTORED_PATH": dom0.path if dom0 else "/nonexistent"}
    command = [sys.executable, "-m", "vminterface", *words]
    return subprocess.run(command, env=env, input=stdin, capture_output=True, text=True, timeout=30, check=False)


def test_help_names_every_command():
    done = vminterface(None, "--help")
    assert done.returncode == 0
    for command in ("get", "set", "diff", "push", "watch", "agent"):
        assert f"\n    {command} " in done.stdout


@pytest.mark.parametrize("command", ["push", "diff", "watch"])
def test_help_says_that_monitors_are_left_out(command):
    assert "monitors" in vminterface(None, command, "--help").stdout


@pytest.mark.parametrize("command", ["push", "diff"])
def test_a_pillar_that_wants_nothing_is_said_to(dom0, tmp_path, command):
    (tmp_path / "none.yaml").write_text("qubes: {vms: {}}")
    done = vminterface(dom0, command, "--pillar", str(tmp_path / "none.yaml"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 VMs: nothing to do\n", "")


def test_usage_errors_have_status_2():
    assert vminterface(None, "frobnicate").returncode == 2
    assert vminterface(None, "push").returncode == 2


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


def test_get_shows_the_others_where_one_vms_qubesdb_cannot_be_read(dom0, tmp_path, monkeypatch):
    monkeypatch.setenv("VMINTERFACE_QUBESDB_DIR", str(tmp_path))
    for words, shown in (((), {"work"}), (("bad",), None)):
        daemon = FaultyDaemon(str(tmp_path / "qubesdb.bad.sock"), lambda stream, answer: None)
        try:
            done = vminterface(dom0, "get", *words, "--json")
        finally:
            daemon.stop()
            (tmp_path / "qubesdb.bad.sock").unlink()
        assert done.returncode == 1
        assert set(json.loads(done.stdout)) == shown if shown else done.stdout == ""
        assert done.stderr.startswith("vminterface: bad: ")
        assert len(done.stderr.splitlines()) == 1


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


def test_push_of_one_vm_leaves_the_others_alone(dom0, pillar):
    dom0.start_vm("idle")
    assert vminterface(dom0, "push", "--pillar", pillar, "work").returncode == 0
    assert dom0.read("idle", "qubes-timezone") is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("set", "work", "timezone=Mars/Olympus"), "work:timezone: "),
        (("set", "work", "tiemzone=UTC"), "did you mean 'timezone'?"),
        (("set", "work", "timezone"), "is not FIELD=VALUE"),
        (("set", "work", "network=none", "network:ip=10.0.0.1"), "'network' is given as a whole and by part"),
        (("set", "work", "network:ip=10.0.0.1", "network=none"), "'network' is given as a whole and by part"),
        (("set", "work", "services=on", "services:cups=on"), "'services' is given as a whole and by part"),
        (("set", "work", "timezone=UTC", "timezone=Asia/Tokyo"), "'timezone' is given twice"),
        (("set", "work", "services:cups=on", "services:cups=off"), "'services:cups' is given twice"),
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
