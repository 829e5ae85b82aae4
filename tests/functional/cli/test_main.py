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
from typing import Any

import pytest

from lab.xenstored import fakexen
from tests.support import warm
from tests.support.dom0 import Dom0
from tests.support.faultyqubesdb import FaultyDaemon
from tests.support.qubesdb import Daemons
from tests.support.warm import WarmPython
from vminterface.cli import main, output, push

pytestmark = pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing())

LIBRARY = str(Path(__file__).parents[3] / "_utils")
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
    return warm.run(["vminterface", *words], env=env, input=stdin, text=True, timeout=30, preexec_fn=before)


def test_help_names_every_command() -> None:
    done = vminterface(None, "--help")
    assert done.returncode == 0
    for command in (
        "get",
        "set",
        "diff",
        "push",
        "export",
        "check",
        "schema",
        "completion",
        "services",
        "features",
        "watch",
        "agent",
    ):
        assert re.search(rf"^    {command}\s", done.stdout, re.MULTILINE)


def test_ctrl_c_while_it_is_loaded_ends_it_without_a_traceback(tmp_path: Path) -> None:
    """A module that is loaded early stands for the moment in which the signal comes."""
    (tmp_path / "argparse.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), LIBRARY])}
    done = subprocess.run(
        [sys.executable, "-m", "vminterface", "vms"], env=env, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_a_class_is_made_ends_it_without_a_traceback(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """Up to Python 3.11 it comes as the cause of a RuntimeError. A module that a push loads late has the class."""
    (tmp_path / "dataclasses.py").write_text(
        "import os, signal, time\n"
        "class Name:\n"
        "    def __set_name__(self, owner, name):\n"
        f"        os.kill(os.getpid(), {number:d})\n"
        "        time.sleep(9)\n"
        "class Made:\n"
        "    name = Name()\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), LIBRARY])}
    command = [sys.executable, "-m", "vminterface", "set", "work", "timezone=Etc/UTC"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


def test_services_lists_what_qubes_has_and_what_a_vm_has_of_it(dom0: Dom0) -> None:
    every = vminterface(None, "services")
    assert every.returncode == 0
    assert re.search(r"^cups +prints$", every.stdout, re.MULTILINE)
    assert re.search(r"^qubes-firewall +applies .*; on in ProxyVM, NetVM$", every.stdout, re.MULTILINE)
    assert vminterface(dom0, "set", "work", "services:cups=on", "services:own=off", "confirm=no").returncode == 0
    shown = json.loads(vminterface(dom0, "services", "work", "--json").stdout)
    assert shown["cups"] == {"does": "prints", "on_in": [], "state": "on"}
    assert shown["own"] == {"does": "", "on_in": [], "state": "off"}
    assert shown["crond"]["state"] == "default"


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_signal_after_the_end_of_a_push_leaves_its_report_whole(
    dom0: Any, monkeypatch: Any, capsys: Any, form: Any
) -> None:
    monkeypatch.setenv("XENSTORED_PATH", dom0.path)
    printed = output.print_data

    def print_slowly(*words: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        printed(*words)

    monkeypatch.setattr(push, "print_data", print_slowly)
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with pytest.raises(SystemExit) as caught:
            main.main(["set", "work", "timezone=Asia/Tokyo", *form])
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    assert caught.value.code == 128 + signal.SIGTERM
    said = capsys.readouterr()
    assert said.err == ""
    shown = json.loads(said.out)["work"]["changes"] if form else said.out
    assert "timezone" in shown


def test_services_without_a_vm_shows_what_every_vm_has_in_one_table(dom0: Dom0) -> None:
    dom0.start_vm("personal")
    assert vminterface(dom0, "set", "work", "services:cups=on", "services:own=off", "confirm=no").returncode == 0
    assert vminterface(dom0, "set", "personal", "services:cups=off", "confirm=no").returncode == 0
    done = vminterface(dom0, "services")
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    vms = rows["SERVICE"]
    states = {name: dict(zip(vms, rows[name], strict=False)) for name in ("cups", "own", "crond")}
    assert {one["work"] for one in states.values()} == {"on", "off", "default"}
    assert [states[name]["personal"] for name in ("cups", "own", "crond")] == ["off", "default", "default"]
    assert re.search(r"^cups .* prints$", done.stdout, re.MULTILINE)
    shown = json.loads(vminterface(dom0, "services", "--json").stdout)
    assert shown["cups"]["states"].items() >= {"work": "on", "personal": "off"}.items()


@pytest.mark.parametrize("command", ["push", "diff", "watch"])
def test_help_says_that_monitors_are_among_them(command: Any) -> None:
    assert "monitors" in vminterface(None, command, "--help").stdout


@pytest.mark.parametrize("command", ["push", "diff"])
def test_a_pillar_that_wants_nothing_is_said_to(dom0: Dom0, tmp_path: Path, command: str) -> None:
    (tmp_path / "none.yaml").write_text("qubes: {vms: {}}")
    done = vminterface(dom0, command, "--pillar", str(tmp_path / "none.yaml"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 VMs: nothing to do\n", "")


WRONG_CALLS = {
    ("frobnicate",): "unknown command 'frobnicate' (expected one of: agent, call,",
    ("pus", "--pillar", "x"): "unknown command 'pus' (did you mean 'push'?)",
    ("reprot\n",): "unknown command 'reprot\\n' (did you mean 'report'?)",
    ("push",): "the following arguments are required: --pillar (see vminterface push --help)",
    ("get", "work", "--loud"): "unrecognized arguments: --loud",
    ("set", "work"): "required: FIELD=VALUE",
    ("set", "work", "timezone", "Asia/Tokyo"): "'timezone' is not FIELD=VALUE (such as timezone=Europe/Warsaw)",
    ("set", "work", "=UTC"): "'=UTC' is not FIELD=VALUE",
    ("set", "work", "timezone=UTC", "--timeout", "soon"): "argument --timeout: invalid float value: 'soon'",
    ("set", "work", "network=none", "network:ip=10.0.0.1"): "'network' is given both as a whole and in parts",
    ("set", "work", "network:ip=10.0.0.1", "network=none"): "'network' is given both as a whole and in parts",
    ("set", "work", "services=on", "services:cups=on"): "'services' is given both as a whole and in parts",
    ("set", "work", "timezone=UTC", "timezone=Asia/Tokyo"): "'timezone' is given twice",
    ("set", "work", "services:cups=on", "services:cups=off"): "'services:cups' is given twice",
    ("monitors", "--pillar", "x"): "--pillar: needs the name of a VM",
}


@pytest.mark.parametrize("words", WRONG_CALLS, ids=" ".join)
def test_a_wrong_call_is_one_line_and_status_2(words: tuple[Any, ...]) -> None:
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
def test_with_json_an_error_is_an_object_on_stdout_and_the_status_the_same(pillar: str, words: tuple[Any, ...]) -> None:
    words = tuple(word.format(pillar) if word == "{}" else word for word in words)
    plain, as_json = vminterface(None, *words), vminterface(None, *words, "--json")
    assert (plain.returncode, plain.stdout) == (1, "")
    assert plain.stderr.startswith("vminterface: ")
    assert (as_json.returncode, as_json.stderr) == (1, "")
    error = json.loads(as_json.stdout)
    assert error == {"error": plain.stderr.removeprefix("vminterface: ").rstrip("\n")}


def test_with_json_every_line_of_a_pillars_errors_is_in_the_object(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("qubes:\n  vms:\n    work: {timezone: Mars/Olympus, debug: maybe}\n")
    done = vminterface(None, "diff", "--pillar", str(file), "--json")
    assert (done.returncode, done.stderr) == (1, "")
    assert [line.split(": ")[0] for line in json.loads(done.stdout)["error"].splitlines()] == [
        "qubes:vms:work:timezone",
        "qubes:vms:work:debug",
    ]


def test_every_command_that_prints_a_result_takes_json() -> None:
    commands = re.findall(r"^    ([a-z]+)(?:  |$)", vminterface(None, "--help").stdout, re.MULTILINE)
    assert {"get", "push", "watch"} < set(commands)
    without_json = {one for one in commands if "--json" not in vminterface(None, one, "--help").stdout}
    # What stays, prints JSON in any case, or writes what a shell reads.
    assert without_json == {"watch", "schema", "completion"}


def test_set_then_get(dom0: Dom0) -> None:
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
def test_dom0_is_no_vm(dom0: Dom0, words: list[str], vm: str) -> None:
    before = dom0.dump()
    done = vminterface(dom0, *words, vm, *(["timezone=Asia/Tokyo"] if words == ["set"] else []))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"'{vm}' is dom0 itself, which is not a VM (expected a VM's name)\n")
    assert len(done.stderr.splitlines()) == 1
    assert dom0.dump() == before


def test_set_takes_a_whole_network(dom0: Dom0) -> None:
    done = vminterface(
        dom0, "set", "work", "network:ip=10.137.0.12", "network:gateway=10.137.0.5", "network:dns=10.139.1.1,10.139.1.2"
    )
    assert done.returncode == 0
    assert dom0.read("work", "qubes-secondary-dns") == "10.139.1.2"


def test_words_of_a_list_may_stand_behind_options(dom0: Dom0, tmp_path: Path) -> None:
    done = vminterface(dom0, "set", "work", "timezone=Asia/Tokyo", "--json", "debug=on")
    assert set(json.loads(done.stdout)["work"]["changes"]) == {"timezone", "debug"}
    done = vminterface(dom0, "get", "work", "--json", "timezone")
    assert json.loads(done.stdout) == {"work": {"timezone": "Asia/Tokyo"}}
    done = vminterface(dom0, "get", "work", "--json", "--wrong", "timezone")
    assert (done.returncode, json.loads(done.stdout)) == (
        2, {"error": "unrecognized arguments: --wrong timezone (see vminterface --help)"},
    )  # fmt: skip


def test_get_of_a_network_shows_all_its_fields(dom0: Dom0) -> None:
    vminterface(dom0, "set", "work", "network:ip=10.137.0.12", "network:gateway=10.137.0.5", "timezone=Asia/Tokyo")
    got = json.loads(vminterface(dom0, "get", "work", "network", "--json").stdout)["work"]
    assert got == {
        "network:gateway": "10.137.0.5", "network:ip": "10.137.0.12", "network:netmask": "255.255.255.255",
    }  # fmt: skip


def test_set_takes_one_of_a_list_and_default_for_it(dom0: Any) -> None:
    network = ("network:ip=10.137.0.12", "network:gateway=10.137.0.5", "network:dns_search=example.org")
    assert vminterface(dom0, "set", "work", *network, "network:dns=10.139.1.1", "services:dns=on").returncode == 0
    assert dom0.read("work", "vm-config/vminterface-dns-search") == "example.org"
    assert vminterface(dom0, "set", "work", *network, "network:dns=default").returncode == 0
    assert dom0.read("work", "qubes-primary-dns") is None


def test_set_takes_the_options_of_a_push(dom0: Dom0) -> None:
    dom0.start_vm("silent")
    done = vminterface(
        dom0, "set", "silent", "debug=on", "confirm=no", "persist=false", "timeout=10", "channel=xenstore"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert dom0.read("silent", "qubes-debug-mode") == "1"
    done = vminterface(dom0, "set", "idle", "debug=on", "require_running=OFF")
    assert (done.returncode, done.stderr) == (0, "")


def test_get_shows_every_running_vm(dom0: Dom0) -> None:
    dom0.start_vm("other")
    assert set(json.loads(vminterface(dom0, "get", "--json").stdout)) == {"work", "other"}


def test_get_shows_the_others_where_one_vms_qubesdb_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Daemons(tmp_path / "q", "work") as daemons:
        monkeypatch.setenv("VMINTERFACE_QUBESDB_DIR", str(daemons.folder))
        with daemons.dom0("work") as store:
            store.write("/qubes-timezone", b"UTC")
        for words in ((), ("--json",), ("bad",), ("bad", "--json")):
            daemon = FaultyDaemon(str(daemons.folder / "qubesdb.bad.sock"), lambda stream, reply: None)
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
        ("qubes: {work: {timezone: UTC}}", "qubes:work: settings of a VM in the wrong place"),
    ],
)
def test_a_pillar_that_is_missing_or_misspelt_is_one_line(
    dom0: Dom0, tmp_path: Path, command: str, text: str, sentence: str
) -> None:
    file = tmp_path / "other.yaml"
    file.write_text(text)
    done = vminterface(dom0, command, "--pillar", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"vminterface: {sentence.format(file=file)}")
    assert len(done.stderr.splitlines()) == 1


def test_diff_has_status_3_while_there_is_drift_and_0_after_the_push(dom0: Dom0, pillar: str) -> None:
    drift = vminterface(dom0, "diff", "--pillar", pillar)
    assert drift.returncode == 3
    assert "work: timezone: default -> Europe/Warsaw" in drift.stdout
    assert dom0.read("work", "qubes-timezone") is None
    assert vminterface(dom0, "push", "--pillar", pillar).returncode == 0
    assert dom0.read("work", "qubes-timezone") == "Europe/Warsaw"
    assert vminterface(dom0, "diff", "--pillar", pillar).returncode == 0


def test_push_reads_json_as_salt_prints_it_from_standard_input(dom0: Dom0) -> None:
    pillar = json.dumps({"local": {"qubes": {"vms": {"work": {"debug": True}}}}})
    assert vminterface(dom0, "push", "--pillar", "-", stdin=pillar).returncode == 0
    assert dom0.read("work", "qubes-debug-mode") == "1"


def test_where_no_thread_can_be_started_it_says_so_in_one_sentence(dom0: Dom0, pillar: str) -> None:
    def no_room_for_threads() -> None:
        resource.setrlimit(resource.RLIMIT_STACK, (8 << 30, 8 << 30))
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

    done = vminterface(dom0, "push", "--pillar", pillar, before=no_room_for_threads)
    assert done.returncode == 1
    assert done.stderr.startswith("vminterface: this process gets no more memory or threads (expected more: ")
    assert len(done.stderr.splitlines()) == 1
    assert dom0.read("work", "qubes-timezone") is None


def test_push_of_one_vm_leaves_the_others_alone(dom0: Dom0, pillar: str) -> None:
    dom0.start_vm("idle")
    assert vminterface(dom0, "push", "--pillar", pillar, "work").returncode == 0
    assert dom0.read("idle", "qubes-timezone") is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("set", "work", "timezone=Mars/Olympus"), "work:timezone: "),
        (("set", "work", "tiemzone=UTC"), "did you mean 'timezone'?"),
        (("set", "work", "persist=maybe"), "work:persist: 'maybe' is not valid (expected true or false)"),
        (
            ("set", "work", "timeout=soon"),
            "work:timeout: 'soon' is not valid (expected seconds, ",
        ),
        (("set", "nobody", "timezone=UTC"), "nobody is not running"),
        (("get", "nobody"), "nobody: there is no running VM with this name"),
        (("get", "work", "network:ip"), "work: has no key for network:ip"),
        (("get", "work", "network"), "work: has no key for network"),
        (("get", "work", "timezoen"), "timezoen: unknown field (did you mean 'timezone'?)"),
        (("get", "work", "timezone", "personal"), "personal: unknown field (expected one of: "),
        (("push", "--pillar", "/nonexistent"), "/nonexistent: cannot be read"),
    ],
)
def test_what_is_refused_is_one_line_and_status_1(dom0: Dom0, words: tuple[Any, ...], said: str) -> None:
    done = vminterface(dom0, *words)
    assert done.returncode == 1
    assert said in done.stdout + done.stderr
    assert len((done.stdout + done.stderr).splitlines()) == 1


def test_every_fault_of_a_pillar_is_a_line(dom0: Dom0, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("qubes:\n  vms:\n    work: {timezone: Mars/Olympus, debug: maybe}\n")
    done = vminterface(dom0, "push", "--pillar", str(file))
    assert done.returncode == 1
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [
        "qubes:vms:work:timezone",
        "qubes:vms:work:debug",
    ]


def test_yaml_that_is_none_names_the_line(dom0: Dom0, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("qubes:\n  vms: [\n")
    done = vminterface(dom0, "diff", "--pillar", str(file))
    assert done.returncode == 1
    assert f"{file}:3: is not valid YAML" in done.stderr


def test_no_xenstore_is_one_line() -> None:
    done = vminterface(None, "get", "work")
    assert done.returncode == 1
    assert done.stderr.startswith("vminterface: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_agent_applies_what_dom0_pushes_and_ends_on_sigterm(dom0: Dom0, tmp_path: Path) -> None:
    dom0.start_vm("real")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    for zone in ("Asia/Tokyo", "Asia/Seoul"):
        (root / "usr/share/zoneinfo" / zone).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(f"/usr/share/zoneinfo/{zone}", root / "usr/share/zoneinfo" / zone)
    env = {**os.environ, "PYTHONPATH": LIBRARY, "XENSTORED_PATH": dom0.daemon.socket(dom0.domids["real"])}
    agent = WarmPython(["vminterface", "agent", "--root", str(root)], env=env)
    try:
        done = vminterface(dom0, "set", "real", "timezone=Asia/Tokyo", "services:cups=on")
        assert done.returncode == 0, done.stdout + done.stderr
        deadline = time.monotonic() + 30
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


def test_what_a_vms_owner_does_not_accept_has_its_status(dom0: Dom0) -> None:
    dom0.start_vm("owned")
    dom0.agent("owned", unaccepted={"timezone": "refuse", "debug": "ignore"})
    done = vminterface(dom0, "set", "owned", "timezone=UTC", "services:cups=on")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (
        "owned does not accept timezone: decided by its owner; owned: services:cups set\n"
        "  owned: services:cups: default -> on\n"
    )
    assert vminterface(dom0, "set", "owned", "timezone=UTC", "optional=timezone,debug").returncode == 0
    done = vminterface(dom0, "set", "owned", "debug=on")
    assert (done.returncode, done.stdout) == (
        0,
        "owned ignores debug: decided by its owner; owned is otherwise as configured\n",
    )


def test_a_vms_owner_sees_what_holds_and_whether_a_file_is_valid(tmp_path: Path) -> None:
    folder = tmp_path / "etc/vminterface"
    folder.mkdir(parents=True)
    owner = ("owner", "--root", str(tmp_path))
    assert json.loads(vminterface(None, *owner, "--json").stdout)["settings"]["network"] == "accept"
    (folder / "agent.conf").write_text("network = refuse\nother-handlers = ignore\n")
    lines = vminterface(None, *owner).stdout.splitlines()
    assert "network: refuse: decided by its owner (/etc/vminterface/agent.conf:1)" in lines
    assert "qubes.VMShell: ignore: decided by its owner (/etc/vminterface/agent.conf:2)" in lines
    assert "debug: accept" in lines
    for program in ("etc/qubes-rpc/qubes.VMShell", "usr/local/etc/qubes-rpc/qubes.GetDate"):
        (tmp_path / program).parent.mkdir(parents=True)
        (tmp_path / program).touch()
    said = "ignore: decided by its owner (/etc/vminterface/agent.conf:2); /etc/qubes-rpc/qubes.VMShell is still served"
    lines = vminterface(None, *owner).stdout.splitlines()
    assert [
        line.partition(":")[0] for line in lines if f": {said}, because it does not belong to vminterface" in line
    ] == [
        "qubes.VMShell",
        "qubes.VMShell+WaitForSession",
    ]
    assert (
        "/usr/local/etc/qubes-rpc/qubes.GetDate"
        in json.loads(vminterface(None, *owner, "--json").stdout)["unheeded"].values()
    )
    (folder / "new.conf").write_text("\nnetwork = never\n")
    done = vminterface(None, *owner, "--check", "/etc/vminterface/new.conf")
    sentence = "/etc/vminterface/new.conf:2: 'network = never' is not valid (expected NAME = accept, ignore or refuse)"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"vminterface: {sentence}\n")
    (folder / "new.conf").rename(folder / "agent.conf")
    done = vminterface(None, *owner)
    assert done.returncode == 1
    assert done.stderr.endswith("everything is refused until that is fixed\n")
    done = vminterface(None, *owner, "--check", "/etc/vminterface/nowhere.conf")
    assert (done.returncode, done.stderr) == (
        1,
        "vminterface: /etc/vminterface/nowhere.conf: the file does not exist\n",
    )
