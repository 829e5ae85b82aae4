"""What `salt-call sys.doc` shows as an example works as typed: each is run through Salt's loader, in one process.

The store is a real xenstored or the lab's QubesDB, qubesd is the lab's, and VMs have the shipped handlers. Paths of the
examples lead below the test's own folder.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import salt.loader
import yaml
from salt.utils.args import parse_input
from saltfactories.utils.functional import Loaders

from lab.xenstored.fakexen import missing
from tests.functional.salt.conftest import REPOSITORY
from tests.support.docexamples import Function, command_lines, functions, state_example
from tests.support.dom0 import Dom0
from tests.support.guiagent import Agent
from tests.support.qubesd import qubes_r4
from tests.support.qubesdb import QubesHost
from tests.support.rpcstandin import StandIn
from tests.support.stores import need
from tests.support.templates import rpmkeys
from tests.support.xrandr import fake_xrandr

# Nothing in an example depends on the release of Salt.
pytestmark = pytest.mark.any_salt
#: Examples that are not run, each with the reason.
NOT_RUN = {
    "qubes_rpc.restore_by_id": "an id is valid only as long as the program of with_backup_location that has got it",
}
MODULES = functions("_modules")
STATES = [one for one in functions("_states") if not one.name.endswith(".mod_watch")]
COMMANDS = [(one.name, line) for one in MODULES if one.name not in NOT_RUN for line in command_lines(one)]
#: Arguments that the examples need here and not on a Qubes host, each with the reason.
MORE: dict[str, tuple[dict[str, Any], str]] = {
    "qubes_rpc.handler_installed": (
        {"folder": "/home/user/qubes-rpc"},
        "a VM of the test shares /usr/local/etc with this machine",
    ),
    "qubes_tools.template_search": (
        {"files": ["/etc/qubes.repo"], "release": "4.3"},
        "this machine has neither the repositories nor the release of a Qubes dom0",
    ),
    "qubes_tools.template_download": (
        {"files": ["/etc/qubes.repo"], "release": "4.3"},
        "this machine has neither the repositories nor the release of a Qubes dom0",
    ),
}
#: What the examples rest on: those that begin what others go on with.
BEFORE = {
    "qubes_rollout.resume": "qubes_rollout.push zones",
    "qubes_rollout.restore": "qubes_rollout.push zones",
    "qubes_rpc.suspend_post": "qubes_rpc.suspend_pre with_devices='[sys-net]'",
}
#: What a VM has for the examples: shell scripts in place of handlers that ask the user or need a network, by VM.
HANDLERS: dict[str, dict[str, str]] = {
    "work": {
        "qubes.SelectFile": "echo /home/user/chosen.txt",
        "qubes.SelectDirectory": "echo /home/user",
        "qubes.OpenInVM": "cat >/dev/null; printf 'edited'",
        "qubes.GetImageRGBA": r"read line; printf '1 1\n\001\002\003\004'",
        "qubes.StartApp": "exit 0",
        "qubes.OpenURL": "exit 0",
        "qubes.ShowInTerminal": "head -c 4 >/dev/null; printf q",
        "qubes.WaitForRunningSystem": "exit 0",
        "qubes.WaitForNetworkUplink": "exit 0",
        "qubes.ResizeDisk": "cat >/dev/null",
    },
    "sys-net": {"qubes.SyncNtpClock": "exit 0", "qubes.DetachPciDevice": "[ $(cat) = 00:06.0 ]"},
    "sys-firewall": {
        "qubes.VMExec": "echo tmux; exit 0",
        "qubes.TemplateSearch": "cat >/dev/null; echo 'qubes-template-debian-13|0|4.3|1|main|8|1750000000|GPL|u|s|d|'",
        "qubes.TemplateDownload": r"cat >/dev/null; printf '\355\253\356\333more'",
    },
    "debian-13": {"qubes.PostInstall": "exit 0", "qubes.GetAppmenus": "echo firefox.desktop:Name=Firefox"},
    "vault": {},
    "windows": {},
    "fedora": {"qubes.InstallUpdatesGUI": "exit 0"},
}
#: What xrandr prints of dom0's monitor.
MONITOR = "eDP-1 connected primary 1920x1080+0+0 (normal left inverted right x axis y axis) 344mm x 193mm"
#: Programs in the VMs.
PROGRAMS = {"nm-online": "exit 0", "resize2fs": "exit 0", "blockdev": "echo 4294967296", "systemctl": "exit 0"}
#: Functions that call services of VMs.
CALLS = re.compile(r"(?:qrexec|qubes_rpc|qubes_session|qubes_tools)\.|qubes_vm\.(?:sync_clocks|clock_synced)")
KEPT_BY_QUBESD = ("qubes_vm.features", "qubes_vm.properties", "qubes_rpc.disk_resized")
PLACES = re.compile(r"^(?=/(?:root|srv|tmp|var|etc|usr/local)(?:/|$))")
VM_PLACES = re.compile(r"(?=/home/user(?:/|$))")


class World(NamedTuple):
    """Where an example runs."""

    host: Dom0
    vms: StandIn
    #: The root of dom0's own files.
    root: Path

    def home(self, vm: str) -> Path:
        """The home of the user of *vm*."""
        return self.vms.folder / "vms" / f"{vm}.root/home/user"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dom0]:
    need(missing())
    with Dom0(tmp_path_factory.mktemp("xen")) as dom0:
        for vm in ("work", "personal", "sys-net", "sys-usb"):
            dom0.start_vm(vm)
            dom0.agent(vm)
        yield dom0


@pytest.fixture(scope="module")
def qubes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QubesHost]:
    with QubesHost(tmp_path_factory.mktemp("qubes") / "q") as qubes:
        qubes.start_vm("work")
        yield qubes


@pytest.fixture(scope="module", autouse=True)
def shipped_pillar(minion_opts: dict[str, Any], loaders: Loaders) -> None:
    """The pillar is the one that is shipped as an example, with a monitor."""
    folder = Path(minion_opts["pillar_roots"]["base"][0])
    (folder / "top.sls").write_text("base: {'*': [qubes]}")
    shipped = yaml.safe_load((REPOSITORY / "pillar/qubes/init.sls").read_text())
    shipped["qubes"]["vms"]["work"]["monitors"] = [{"width": 1920, "height": 1080, "x": 0, "y": 0}]
    (folder / "qubes.sls").write_text(f"#!yaml\n{yaml.safe_dump(shipped)}")
    loaders.reload_all()


@pytest.fixture
def world(host: Dom0, vms: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The running VMs have their first keys again, and dom0 the files of the examples."""
    for name in ("XENSTORED_PATH", "VCHAN_SOCKET_DIR"):
        monkeypatch.setenv(name, {"XENSTORED_PATH": host.path}.get(name, str(tmp_path)))
    monkeypatch.setenv("VMINTERFACE_ROLLOUTS", str(tmp_path / "rollouts"))
    monkeypatch.setenv("VMINTERFACE_MENU", str(tmp_path / "menu"))
    with host.store() as store:
        for key in ("qubes-service/cups", "qubes-service/clocksync", "vm-config/greeting", "qubes-timezone"):
            store.write(f"/local/domain/{host.domids['work']}/{key}", b"Asia/Tokyo" if "zone" in key else b"1")
        store.write("/tool/shared", b"")
    root = tmp_path / "dom0"
    for folder in (
        "root/notes",
        "srv/pillar",
        "srv/handlers",
        "srv/notes",
        "tmp",
        "var/tmp",
        "var/backup",
        "usr/local/bin",
    ):
        (root / folder).mkdir(parents=True)
    keys = root / "etc/qubes/repo-templates/keys"
    keys.mkdir(parents=True)
    for path in ("etc/hosts", "etc/qubes.repo", "root/notes.txt", "srv/notes/one", "root/notes/one"):
        (root / path).write_text("[main]\nname=x\n")
    (keys / "RPM-GPG-KEY-qubes-4.3-primary").write_text("key")
    for program in ("srv/handlers/report", "usr/local/bin/restore-in-a-disposable"):
        (root / program).write_text("#!/bin/sh\necho done\n")
        (root / program).chmod(0o755)
    for tar in ("root/dom0.tar", "var/backup/dom0.tar"):
        with tarfile.open(root / tar, "w") as archive:
            archive.add(root / "etc/hosts", "hosts")
    rpmkeys(tmp_path / "programs", monkeypatch)
    (tmp_path / "programs/xrandr").write_text(f"#!/bin/sh\necho '{MONITOR}'\n")
    (tmp_path / "programs/xrandr").chmod(0o755)
    return World(host, vms, root)


def furnish(world: World, vm: str) -> None:
    """Give the VM its handlers and files; one that the shared double has already gets the rest."""
    vms = world.vms
    if vm != "work":
        vms.machine(vm)
    fake_xrandr(vms, vm)
    for name, script in PROGRAMS.items():
        vms.program(vm, name, script)
    for service, script in HANDLERS[vm].items():
        vms.handler(vm, service, script)
        (vms.folder / "vms" / vm / service).chmod(0o644)
    home = world.home(vm)
    for folder in ("backups", "qubes-rpc"):
        (home / folder).mkdir()
    for backup in ("backups/qubes-backup-2026-01-31T120000", "weekly.tar"):
        (home / backup).write_bytes((world.root / "root/dom0.tar").read_bytes())


def placed(world: World, value: Any, vm: str) -> Any:
    """Return *value* with its paths below the test's folders."""
    if isinstance(value, dict):
        return {name: placed(world, one, vm) for name, one in value.items()}
    if isinstance(value, list):
        return [placed(world, one, vm) for one in value]
    if not isinstance(value, str) or value.startswith("/qubes"):
        return value
    in_vm = VM_PLACES.sub(str(world.vms.folder / "vms" / f"{vm}.root"), value)
    return in_vm if in_vm != value else PLACES.sub(str(world.root), value)


def named(words: list[Any]) -> list[str]:
    """Return the VMs that *words* name."""
    return [vm for vm in HANDLERS if any(re.search(rf"(?<![\w-]){vm}(?![\w-])", str(word)) for word in words)]


def run(loaders: Loaders, world: World, line: list[str]) -> Any:
    """Run a command line of Salt as its commands do; return what the function returned."""
    command, *words = [word for word in line if not word.startswith("--")]
    if command == "salt":
        del words[0]  # the minions: here it is this one
    function = words.pop(0)
    vms = named(words)
    more, _ = MORE.get(function, ({}, ""))
    arguments, keywords = parse_input(words, condition=False)
    vm = vms[0] if vms else "work"
    return loaders.modules[function](*placed(world, arguments, vm), **placed(world, {**keywords, **more}, vm))


def test_what_is_special_is_so_for_functions_that_exist() -> None:
    assert {*NOT_RUN, *MORE, *BEFORE, *KEPT_BY_QUBESD} <= {one.name for one in (*MODULES, *STATES)}
    assert len(COMMANDS) > 80
    assert len(STATES) > 25


@pytest.mark.parametrize(("function", "line"), COMMANDS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_command_line_runs_and_returns_plain_data(
    function: str,
    line: list[str],
    loaders: Loaders,
    world: World,
    request: pytest.FixtureRequest,
    minion_opts: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if function.startswith("qubesdb."):
        prepare_qubesdb(request.getfixturevalue("qubes"), monkeypatch)
    if function == "qubes_tools.gui_greet":
        Agent(tmp_path / f"vchan.{world.host.domids['work']}.0.6000.sock")
    for vm in named(line) if CALLS.match(function) else ():
        furnish(world, vm)
    if function in BEFORE:
        run(loaders, world, ["salt-call", *shlex.split(BEFORE[function])])
    returned = run(loaders, world, line)
    data = json.loads(json.dumps(returned))
    assert data == returned
    for option in line:
        if option.startswith("--out="):
            shown = salt.loader.outputters(minion_opts)[option.removeprefix("--out=")]({"dom0": returned})
            assert json.loads(shown) == {"dom0": data}


def prepare_qubesdb(qubes: QubesHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMINTERFACE_QUBESDB_DIR", str(qubes.folder))
    with qubes.store("work") as store:
        for key in ("/qubes-service/cups", "/qubes-timezone", "/vm-config/greeting", "/vminterface/agent"):
            store.write(key, b"Asia/Tokyo" if "zone" in key else b"1")


@pytest.mark.parametrize("function", STATES, ids=lambda one: str(one.name))
def test_a_state_applies_and_has_nothing_left_to_do(
    function: Function,
    loaders: Loaders,
    world: World,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called, arguments = state_example(function)
    if called.startswith("qubesdb."):
        prepare_qubesdb(request.getfixturevalue("qubes"), monkeypatch)
    vms = named([*arguments.values()])
    for vm in vms or ["work"] if CALLS.match(called) else ():
        furnish(world, vm)
    if called == "qubes_rpc.disk_resized":
        # A halted VM: the running one's private volume would be a disk of this machine.
        shutil.rmtree(world.vms.folder / "vms/work")
    arguments = placed(world, {**arguments, **MORE.get(called, ({}, ""))[0]}, vms[0] if vms else "work")
    state = loaders.states[called]
    with qubes_r4(tmp_path, "work", "vault") if called in KEPT_BY_QUBESD else nullcontext():
        first = state(**arguments, test=True)
        assert first["result"] in (None, True), first["comment"]
        done = state(**arguments)
        assert done["result"] is True, done["comment"]
        assert set(first["changes"]) <= set(done["changes"])
        again = state(**arguments)
        assert (again["result"], again["changes"]) == (True, {}), again["comment"]
