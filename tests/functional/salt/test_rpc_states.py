"""States about services, through Salt's loader, on VMs that answer by the real handlers: truth, and nothing twice."""

from __future__ import annotations

import ast
import math
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from salt.loader.lazy import LazyLoader
from saltfactories.utils.functional import Loaders

from tests.functional.salt.conftest import REPOSITORY
from tests.support.rpcstandin import StandIn
from tests.support.xrandr import fake_xrandr

LAYOUT = [{"width": 1920, "height": 1080, "x": 0, "y": 0}, {"width": 1280, "height": 800, "x": 1920, "y": 0}]
PILLAR = {"qubes": {"vms": {"work": {"monitors": LAYOUT}, "off": {"monitors": LAYOUT}, "plain": {"timezone": "UTC"}}}}
HANDLER = "#!/bin/sh\necho report\n"

#: Arguments that change something at first, by function; {0} is the folder of dom0's files, {1} the VM's root.
GOOD: dict[str, list[dict[str, Any]]] = {
    "qubes_rpc.all_monitors": [{"name": "monitors"}],
    "qubes_rpc.monitors": [{"name": "work", "monitors": LAYOUT}],
    "qubes_rpc.monitor_layout": [{"name": "work", "monitors": LAYOUT}],
    "qubes_rpc.clock_set": [{"name": "work"}],
    "qubes_rpc.gui_mode": [{"name": "work", "mode": "SEAMLESS"}],
    "qubes_rpc.file_sent": [
        {"name": "{0}/file", "vm": "work"},
        {"name": "{0}/tree", "vm": "work"},
        {"name": "{0}/other", "vm": "work", "replace": True},
    ],
    "qubes_rpc.command_run": [
        {"name": "mkdir reports", "vm": "work", "unless_in_vm": "test -d reports"},
        {"name": "rm old", "vm": "work", "onlyif_in_vm": "test -e old", "root": True, "timeout": 10},
    ],
    "qubes_rpc.handler_installed": [
        {"name": "example.Report+x", "vm": "work", "source": "{0}/handler", "folder": "{1}/usr/local/etc/qubes-rpc"}
    ],
    "qubes_rpc.backup_made": [
        {"name": "{0}/file", "vm": "work", "location": "{1}/home/user/backups"},
        {"name": "{0}/file", "vm": "work", "location": "{1}/home/user/backups/named"},
    ],
    "qubes_rpc.appmenus_synced": [{"name": "work"}],
    "qubes_rpc.disk_resized": [{"name": "work", "device": "{1}/disk"}],
    "qubes_vm.clock_synced": [
        {"name": "clocks", "vms": ["work", "net"]},
        {"name": "clocks", "clock_vm": "net", "vms": ["work"]},
    ],
}
#: Arguments that are refused.
BAD = {
    "qubes_rpc.monitor_layout": [{"name": "work", "monitors": []}],
    "qubes_rpc.monitors": [
        {"name": "work", "monitors": m} for m in ([], "x", [{"width": 0}], [{**LAYOUT[0], "wide": 1}], LAYOUT * 9)
    ],
    "qubes_rpc.clock_set": [{"name": "no/name"}, {"name": "gone"}],
    "qubes_rpc.gui_mode": [{"name": "work", "mode": m} for m in ("seamless", "", None, True)],
    "qubes_rpc.file_sent": [
        {"name": "file", "vm": "work"},
        {"name": "/", "vm": "work"},
        {"name": "{0}/nothing", "vm": "work"},
        {"name": "{0}/other", "vm": "work"},
        {"name": "{0}/file", "vm": "work", "replace": "yes"},
        {"name": "{0}/unsendable", "vm": "work"},
        {"name": "{0}/fi\0le", "vm": "work"},
        {"name": "{0}/odd", "vm": "work"},
        {"name": "{0}/file", "vm": "gone"},
    ],
    "qubes_rpc.command_run": [
        {"name": "", "vm": "work"},
        {"name": "true", "vm": 7},
        {"name": "\0", "vm": "work"},
        {"name": "  ", "vm": "work", "unless_in_vm": "true"},
        *({"name": "true", "vm": "work", "timeout": t} for t in ("5", 0, -1, 2592000, 1e300, math.inf, math.nan, None)),
        {"name": "true", "vm": "work", "unless_in_vm": ["x"]},
    ],
    "qubes_rpc.handler_installed": [
        {"name": "../x", "vm": "work", "source": "{0}/handler"},
        {"name": "example.Report", "vm": "work", "source": "{0}/file"},
        {"name": "example.Report", "vm": "work", "source": "{0}/nothing"},
        {"name": "example.Report", "vm": "work", "source": "{0}/hand\0ler"},
    ],
    "qubes_rpc.backup_made": [
        {"name": "{0}/nothing", "vm": "work", "location": "/"},
        {"name": "{0}/fi\0le", "vm": "work", "location": "/"},
        {"name": "{0}/file", "vm": "work", "location": "a\nb"},
    ],
    "qubes_rpc.appmenus_synced": [{"name": "no/name"}, {"name": "gone"}],
    "qubes_rpc.disk_resized": [
        {"name": "work", "device": "xvdb"},
        {"name": "work", "device": "{1}/nothing"},
        {"name": "work", "size": "20G"},
        {"name": "work", "size": True},
    ],
    "qubes_vm.clock_synced": [
        {"name": "clocks", "vms": "work"},
        {"name": "clocks", "vms": ["no/name"]},
        {"name": "clocks", "clock_vm": "gone", "vms": []},
    ],
}


@pytest.fixture
def vms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Running VMs called work, net and plain, and dom0's files to send."""
    (tmp_path / "qrexec").mkdir()
    stand_in = StandIn(tmp_path / "qrexec")
    monkeypatch.setenv("PATH", f"{stand_in.folder}:{os.environ['PATH']}")
    for vm in ("work", "net", "plain"):
        stand_in.machine(vm)
    (stand_in.folder / "vms/net/qubes.SyncNtpClock").unlink()
    fake_xrandr(stand_in, "work")
    root = stand_in.folder / "vms/work.root"
    home = root / "home/user"
    for path in (home / "QubesIncoming/dom0", home / "backups"):
        path.mkdir(parents=True)
    (home / "QubesIncoming/dom0/other").write_text("theirs")
    (home / "old").touch()
    (root / "run/vminterface/clock-offset").write_text("60000000\n")
    (root / "etc/vminterface").mkdir()
    (root / "etc/vminterface/handlers.conf").write_text("private-device = /disk\n")
    with (root / "disk").open("wb") as disk:
        disk.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", root / "disk"], check=True, timeout=30)
    os.truncate(root / "disk", 16 << 20)
    (root / "usr/share/applications").mkdir()
    (root / "usr/share/applications/firefox.desktop").write_text("[Desktop Entry]\nName=Firefox\nExec=firefox\n")
    monkeypatch.setenv("VMINTERFACE_MENU", str(tmp_path / "own/menu"))
    own = tmp_path / "own"
    (own / "unsendable").mkdir(parents=True)
    (own / "unsendable/link").symlink_to("/etc/passwd")
    (own / "odd").mkdir()
    (own / "odd/a\N{RIGHT-TO-LEFT OVERRIDE}").touch()
    (own / "tree/empty").mkdir(parents=True, exist_ok=True)
    (own / "tree/sub").mkdir()
    (own / "tree/sub/link").symlink_to("file")
    for name, text in (("file", "hi\n"), ("tree/sub/file", "x"), ("other", "ours"), ("handler", HANDLER)):
        (own / name).write_text(text)
    return stand_in


def filled(value: Any, vms: StandIn) -> Any:
    if isinstance(value, str) and ("{0}" in value or "{1}" in value):
        return value.format(vms.folder.parent / "own", vms.folder / "vms/work.root")
    return value


@pytest.fixture
def apply(states: LazyLoader, pillar: Callable[..., Any], vms: StandIn) -> Callable[..., Any]:
    def apply(function: Any, arguments: Any, **more: Any) -> Any:
        module, _, name = function.partition(".")
        given = {name: filled(value, vms) for name, value in arguments.items()}
        return getattr(getattr(states, module), name)(**given, **more)

    pillar(PILLAR)
    return apply


def cases(table: Any) -> Any:
    return [pytest.param(f, arguments, id=f"{f}-{i}") for f in table for i, arguments in enumerate(table[f])]


def world(vms: StandIn) -> dict[str, str | bytes | None]:
    """Everything that a VM or dom0 holds, by its path."""
    found: dict[str, str | bytes | None] = {}
    for top in (vms.folder / "vms", vms.folder.parent / "own"):
        for folder, names, files in os.walk(top):
            names[:] = [name for name in names if not os.path.islink(os.path.join(folder, name))]
            found.update(dict.fromkeys(os.path.join(folder, name) for name in names))
            for name in files:
                path = os.path.join(folder, name)
                if os.path.islink(path) or os.path.isfile(path):  # no socket
                    found[path] = os.readlink(path) if os.path.islink(path) else open(path, "rb").read()  # noqa: SIM115
    return found


def test_the_tables_name_every_state_function() -> None:
    tree = ast.parse((REPOSITORY / "_states/qubes_rpc.py").read_text())
    functions = {f"qubes_rpc.{n.name}" for n in tree.body if isinstance(n, ast.FunctionDef) and n.name[0] != "_"}
    functions |= {"qubes_vm.clock_synced", "qubes_rpc.monitor_layout"}  # a former name
    assert functions - {"qubes_rpc.mod_watch"} == set(GOOD)
    assert set(GOOD) - {"qubes_rpc.all_monitors"} == set(BAD)


@pytest.mark.parametrize("release", ["R4.3", pytest.param("R4.0", marks=pytest.mark.any_salt)])
@pytest.mark.parametrize(("function", "arguments"), cases(GOOD))
def test_a_look_changes_nothing_then_it_is_done_then_nothing_is_left_to_do(
    vms: StandIn, apply: Callable[..., Any], function: str, arguments: dict[str, Any], release: str
) -> None:
    if release == "R4.0":
        for vm in ("work", "net"):
            for service in ("VMExec", "VMExecGUI", "VMRootExec", "VMRootShell"):
                (vms.folder / "vms" / vm / f"qubes.{service}").unlink()
    before = world(vms)
    look = apply(function, arguments, test=True)
    assert look.result is None, look.comment
    assert look.changes
    assert world(vms) == before
    done = apply(function, arguments)
    assert done.result is True, done.comment
    assert set(look.changes) <= set(done.changes)
    after = world(vms)
    assert after != before
    for test in (False, True):
        again = apply(function, arguments, test=test)
        assert (again.result, again.changes) == (True, {}), again.comment
    assert world(vms) == after


@pytest.mark.any_salt
@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize(("function", "arguments"), cases(BAD))
def test_what_is_wrong_is_told_and_nothing_is_changed(
    vms: StandIn, apply: Callable[..., Any], function: str, arguments: dict[str, Any], test: bool
) -> None:
    before = world(vms)
    ret = apply(function, arguments, test=test)
    assert (ret.result, ret.changes) == (False, {})
    assert ret.comment
    assert ret.comment.isascii()
    assert "Traceback" not in ret.comment
    assert "exception" not in ret.comment
    assert world(vms) == before


def test_what_is_wrong_with_monitors_has_its_path(apply: Callable[..., Any]) -> None:
    assert apply("qubes_rpc.monitors", {"name": "work", "monitors": "x"}).comment.startswith("monitors: ")
    without_sides = apply("qubes_rpc.monitors", {"name": "work", "monitors": [{"x": 0, "y": 0}]}).comment
    assert without_sides.splitlines() == ["monitors:0:width: is missing", "monitors:0:height: is missing"]


@pytest.mark.parametrize("function", sorted(GOOD))
def test_without_qrexec_it_fails_with_one_sentence(
    apply: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, function: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    ret = apply(function, GOOD[function][0])
    assert (ret.result, ret.changes) == (False, {})
    lines = ret.comment.splitlines()
    assert any("neither qrexec-client nor" in line or line.endswith("is not installed") for line in lines), lines


def test_without_monitors_in_the_pillar_nobody_misses_qrexec(
    states: LazyLoader, pillar: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pillar({"qubes": {"vms": {"work": {"timezone": "UTC"}}}})
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    ret = states.qubes_rpc.all_monitors("monitors")
    assert (ret.result, ret.changes, ret.comment) == (True, {}, "0 VMs: nothing to do")


def test_a_vm_that_is_off_is_passed_over_and_named(vms: StandIn, apply: Callable[..., Any]) -> None:
    ret = apply("qubes_rpc.all_monitors", {"name": "monitors"})
    assert (ret.result, ret.changes) == (True, {"work": {"monitors": {"old": "none", "new": LAYOUT}}})
    whole, line = ret.comment.splitlines()
    assert whole == "2 VMs: 1 changed, 1 not running"
    assert line.startswith("off is not running")


def test_monitors_of_dom0_are_asked_for_once_and_told(
    vms: StandIn, states: LazyLoader, pillar: Callable[..., Any], tmp_path: Path
) -> None:
    program = vms.folder / "xrandr"
    program.write_text(
        f"#!/bin/sh\necho >> {tmp_path}/asked\necho 'eDP-1 connected primary 2560x1440+0+0 (x) 310mm x 170mm'\n"
    )
    program.chmod(0o755)
    fake_xrandr(vms, "net")
    pillar(
        {"qubes": {"defaults": {"monitors": "from_dom0"}, "vms": {"work": {}, "net": {}, "plain": {"monitors": None}}}}
    )
    ret = states.qubes_rpc.all_monitors("monitors")
    assert ret.result is True, ret.comment
    assert (tmp_path / "asked").read_text() == "\n"
    told = vms.folder / "vms/net.root/run/vminterface/monitors"
    assert told.read_text().startswith("2560 1440 0 0 ")
    assert not (vms.folder / "vms/plain.root/run/vminterface/monitors").exists()


def test_a_fault_in_the_pillar_is_told_by_its_path(
    states: LazyLoader, pillar: Callable[..., Any], vms: StandIn
) -> None:
    pillar({"qubes": {"vms": {"work": {"monitors": [{**LAYOUT[0], "width": "wide"}]}}}})
    ret = states.qubes_rpc.all_monitors("monitors")
    assert ret.result is False
    assert ret.comment.startswith("qubes:vms:work:monitors:0:width: ")


def test_the_clocks_lines_say_by_how_much_they_were_wrong(apply: Callable[..., Any]) -> None:
    ret = apply("qubes_vm.clock_synced", {"name": "clocks", "vms": ["work", "net", "gone"]})
    assert list(ret.changes) == ["work"]
    assert ret.changes["work"]["clock"]["old"].endswith("s ahead")
    assert any(line.startswith("gone is not running") for line in ret.comment.splitlines())


def test_what_a_command_said_is_among_the_changes(apply: Callable[..., Any]) -> None:
    ret = apply("qubes_rpc.command_run", {"name": r"printf 'a\033[2J\n'; echo b", "vm": "work"})
    assert ret.changes["stdout"] == "a\\x1b[2J\nb"
    ret = apply("qubes_rpc.command_run", {"name": "echo why >&2; false; exit 3", "vm": "work"})
    assert ret.result is False
    assert ret.comment == "qubes.VMShell in work: exit status 3: why"


def test_a_watched_change_runs_the_state_once_more(
    vms: StandIn, loaders: Loaders, pillar: Callable[..., Any], state_tree: Path
) -> None:
    pillar(PILLAR)
    (state_tree / "watching.sls").write_text(
        "changed:\n  test.succeed_with_changes: []\n"
        "mkdir -p reports:\n  qubes_rpc.command_run:\n    - vm: work\n    - unless_in_vm: test -d reports\n"
        "    - watch:\n      - test: changed\n"
    )  # fmt: skip
    for changes in (True, False):
        (line,) = [one for one in loaders.modules.state.apply("watching") if "command_run" in one.state_id]
        assert line.result is True
        assert bool(line.changes) is changes


def test_all_monitors_is_the_push_of_that_topic_by_another_name(vms: Any, states: Any, pillar: Any) -> None:
    pillar({"qubes": {"vms": {vm: {"monitors": LAYOUT, "timezone": "UTC"} for vm in ("work", "off")}}})
    pushed = states.qubes_vm.all_configured("monitors", only=["monitors"], test=True)
    alias = states.qubes_rpc.all_monitors("monitors", test=True)
    assert (alias.result, alias.changes, alias.comment) == (pushed.result, pushed.changes, pushed.comment)
    assert list(alias.changes["work"]) == ["monitors"]
