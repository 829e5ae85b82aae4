"""The execution modules about services: plain data out, one sentence for what is wrong."""

from __future__ import annotations

import io
import math
import re
import shlex
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from salt.utils.args import parse_input
from saltfactories.utils.functional import Loaders

from tests.support.rpcstandin import StandIn
from tests.support.templates import rpmkeys
from tests.support.xrandr import fake_xrandr


@pytest.fixture
def root(vms: StandIn) -> Path:
    return vms.folder / "vms/work.root"


def test_any_service_is_called(vms: StandIn, modules: Any) -> None:
    assert modules.qrexec.call("work", "qubes.VMExec+echo+hi") == {"status": 0, "stdout": "hi", "stderr": ""}
    assert modules.qrexec.call("work", "qubes.VMShell", stdin="echo $0; exit 4\n")["status"] == 4
    vms.handler("work", "example.Report", "echo $QREXEC_USER $1")
    assert modules.qrexec.call("work", "example.Report", "x", user="root")["stdout"] == "root x"


@pytest.mark.any_salt
@pytest.mark.parametrize(
    "arguments",
    [
        {"vm": "no/name", "service": "qubes.GetDate"},
        {"vm": "work", "service": "a b"},
        {"vm": "work", "service": "a+b", "argument": "c"},
        {"vm": "work", "service": "qubes.GetDate", "timeout": 0},
        {"vm": "work", "service": "qubes.GetDate", "timeout": "5"},
        {"vm": "work", "service": "qubes.GetDate", "limit": -1},
    ],
)
def test_a_bad_call_is_refused(vms: StandIn, modules: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(SaltInvocationError):
        modules.qrexec.call(**arguments)


#: Arguments of another type, or that no file and no program can have, by function.
REFUSED = [
    *(("get_date", ["work"], {"timeout": t}) for t in ("5", 0, -1, 2592000, 1e300, math.inf, math.nan)),
    *(("get_date", [vm], {}) for vm in (5, None, ["work"])),
    *(("vm_exec", [vm, "true"], {}) for vm in (5, ["work"])),
    ("wait_for_session", ["work"], {"user": 5}),
    ("get_image", ["work", "x", "/tmp/\0"], {}),
    ("open_in_vm", ["work", ["/etc/hosts"]], {}),
    ("open_in_vm", ["work", "/etc/\0"], {}),
    ("filecopy", ["work", "/etc/\0"], {}),
    ("filecopy", ["work", "/etc/\ud800"], {}),
    ("backup", ["work", "/b", "/etc/\0"], {}),
    ("restore", ["work", "/b", "/tmp/\0"], {}),
    ("restore", ["work", "/b", "/tmp/back"], {"timeout": "5"}),
    ("restore_by_id", ["work", 12345678, "/tmp/back"], {}),
    ("restore_by_id", ["work", "../x", "/tmp/back"], {}),
    ("with_backup_location", ["work", "/b", "true"], {"timeout": "5"}),
    ("vm_shell", ["work", "true\0"], {}),
    ("vm_shell", ["work", "echo \ud800"], {}),
    ("vm_exec", ["work", "true", "\0"], {}),
]


@pytest.mark.any_salt
@pytest.mark.parametrize(("function", "arguments", "more"), REFUSED)
def test_what_no_call_can_be_given_is_refused_in_a_sentence_before_anything_runs(
    vms: StandIn, modules: Any, function: str, arguments: list[Any], more: dict[str, Any]
) -> None:
    with pytest.raises(SaltInvocationError):
        getattr(modules.qubes_rpc, function)(*arguments, **more)
    assert vms.ran() == []


def test_input_may_have_any_bytes(vms: StandIn, modules: Any) -> None:
    assert modules.qubes_rpc.vm_exec("work", "wc", "-c", stdin="a\0\udcff")["stdout"] == "3"


def test_a_service_that_is_not_there_is_told(vms: StandIn, modules: Any) -> None:
    with pytest.raises(CommandExecutionError, match=r"example\.None in work: there is no such service"):
        modules.qrexec.call("work", "example.None")


def test_the_environment_says_how_services_are_reached(
    vms: StandIn, modules: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMINTERFACE_QREXEC", "/no/qrexec-client")
    with pytest.raises(CommandExecutionError, match="the program /no/qrexec-client is not installed"):
        modules.qubes_rpc.get_date("work")
    monkeypatch.setenv("VMINTERFACE_QREXEC_PARALLEL", "0")
    with pytest.raises(SaltInvocationError, match=r"QREXEC_PARALLEL: '0' is not valid \(expected a whole number"):
        modules.qubes_rpc.get_date("work")


def test_known_services_have_a_function_that_is_there(modules: Any) -> None:
    known = modules.qrexec.services()
    assert known["qubes.SetMonitorLayout"]["function"] == "qubes_rpc.set_monitors"
    for one in known.values():
        module, _, name = one["function"].partition(".")
        assert callable(getattr(getattr(modules, module), name))


def test_the_services_of_a_vm_are_listed(vms: StandIn, modules: Any) -> None:
    listed = "printf 'qubes.GetDate\\0qubes.VMExec\\0example.Report+x\\0.hidden\\0a b\\0qubes.GetDate\\0'"
    (vms.folder / "vms/other").mkdir()
    vms.handler("other", "qubes.VMExec", listed)
    assert modules.qrexec.services("other") == ["example.Report+x", "qubes.GetDate", "qubes.VMExec"]


def test_monitors_are_told_and_read(vms: StandIn, modules: Any) -> None:
    fake_xrandr(vms, "work")
    layout = [{"width": 800, "height": 600, "x": 0, "y": 0}]
    assert modules.qubes_rpc.get_monitors("work") == []
    assert modules.qubes_rpc.set_monitors("work", layout) == "800x600+0+0"
    assert modules.qubes_rpc.get_monitors("work") == layout
    # Their former names, until 1.0.
    assert modules.qubes_rpc.set_monitor_layout("work", layout) == "800x600+0+0"
    assert modules.qubes_rpc.get_monitor_layout("work") == layout


def test_the_clock_is_told_and_read(vms: StandIn, root: Path, modules: Any) -> None:
    modules.qubes_rpc.set_date_time("work", "2030-01-31T12:00:00+00:00")
    assert modules.qubes_rpc.get_date("work").startswith("2030-01-31T12:00:0")
    assert modules.qubes_tools.read_date("work") < "2030"  # the program sees the kernel's clock
    found = modules.qubes_vm.sync_clocks(vms=["work"], test=True)["work"]
    assert found["changes"]["clock"]["old"].endswith("s ahead")
    assert modules.qubes_vm.sync_clocks(vms=["work"])["work"]["ok"] is True
    assert modules.qubes_vm.sync_clocks(vms=["work"])["work"]["changes"] == {}


def test_files_go_there_and_come_back(vms: StandIn, root: Path, modules: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("hi")
    assert modules.qubes_rpc.filecopy("work", str(tmp_path / "a")) == {"total_bytes": 2, "skipped": []}
    assert (root / "home/user/QubesIncoming/dom0/a").read_text() == "hi"
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(tmp_path / "a", "a")
    (tmp_path / "b.tar").write_bytes(stream.getvalue())
    kept = f"{root}/home/user/kept.tar"
    assert modules.qubes_rpc.backup("work", kept, str(tmp_path / "b.tar")) is True
    back = modules.qubes_rpc.restore("work", kept, str(tmp_path / "back"))
    assert back == {"files": ["a"], "total_bytes": 2}
    with pytest.raises(SaltInvocationError, match="already exists"):
        modules.qubes_rpc.restore("work", kept, str(tmp_path / "back"))
    vms.program("work", "qubes-open", "echo there >> $1")
    assert modules.qubes_rpc.open_in_vm("work", str(tmp_path / "a")) is True
    assert (tmp_path / "a").read_text() == "hithere\n"


def test_a_program_of_dom0_has_a_location_by_its_id(vms: StandIn, root: Path, modules: Any, tmp_path: Path) -> None:
    with tarfile.open(root / "home/user/b.tar", mode="w") as tar:
        tar.add("/etc/hostname", "a")
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\nls {root}/run/user/1000/qubes-backup-location; echo $BACKUP_LOCATION_ID; exit $1\n")
    program.chmod(0o755)
    found = modules.qubes_rpc.with_backup_location("work", f"{root}/home/user/b.tar", str(program), "3")
    first, second = found["stdout"].splitlines()
    assert (found["status"], first) == (3, second)
    with pytest.raises(CommandExecutionError, match="is no longer registered"):
        modules.qubes_rpc.restore_by_id("work", first, str(tmp_path / "back"))
    with pytest.raises(CommandExecutionError, match="the program /no/program is not installed"):
        modules.qubes_rpc.with_backup_location("work", "/b", "/no/program")
    for arguments in (["work", 7, "x"], ["work", "/b"], ["work", "/b", 7], ["work", "/b", "a\0b"]):
        with pytest.raises(SaltInvocationError):
            modules.qubes_rpc.with_backup_location(*arguments)


def test_templates_are_found_and_fetched(vms: Any, modules: Any, tmp_path: Any, monkeypatch: Any) -> None:
    rpmkeys(tmp_path / "bin", monkeypatch)
    for name in ("a.repo", "key"):
        (tmp_path / name).write_text("[main]\nname=x\n")
    given = {"files": [str(tmp_path / "a.repo")], "release": "4.3"}
    row = "qubes-template-x|0|4.3|1|main|8|1750000000|GPL|u|s|d|"
    vms.handler("net", "qubes.TemplateSearch", f"grep -q '^qubes-template-x[*]$' && echo '{row}'")
    (found,) = modules.qubes_tools.template_search("net", "x*", **given)
    assert (found["package"], found["built"]) == ("qubes-template-x-0:4.3-1", "2025-06-15T15:06:40+00:00")
    vms.handler("net", "qubes.TemplateDownload", r"cat >/dev/null; printf '\355\253\356\333more'")
    words = ["net", found["package"], str(tmp_path / "x.rpm"), str(tmp_path / "key")]
    assert modules.qubes_tools.template_download(*words, size=found["size"], **given) == 8
    for function, arguments, more in (
        ("template_search", ["net", "a b"], given),
        ("template_search", ["net", "x"], {**given, "release": 4.3}),
        ("template_search", ["net", "x"], {**given, "files": "/a"}),
        ("template_search", ["net", "x"], {**given, "refresh": "yes"}),
        ("template_download", words, given),
        ("template_download", [*words[:3], 7], given),
        ("template_download", words, {**given, "size": -1}),
    ):
        with pytest.raises(SaltInvocationError):
            getattr(modules.qubes_tools, function)(*arguments, **more)
    with pytest.raises(CommandExecutionError, match=r"/etc/qubes/repo-templates: No such file"):
        modules.qubes_tools.template_search("net", release="4.3")


def test_commands_return_their_status(vms: StandIn, modules: Any) -> None:
    assert modules.qubes_rpc.vm_shell("work", "cat; exit 2", stdin="x") == {"status": 2, "stdout": "x", "stderr": ""}
    assert modules.qubes_rpc.vm_exec("work", "printf", "%s|", 7, "a b")["stdout"] == "7|a b|"


def test_an_icon_becomes_a_file(vms: StandIn, modules: Any, tmp_path: Path) -> None:
    vms.handler("pics", "qubes.GetImageRGBA", r"read line; printf '1 1\n\001\002\003\004'")
    assert modules.qubes_rpc.get_image("pics", "firefox", str(tmp_path / "i.png")) == {"width": 1, "height": 1}
    assert (tmp_path / "i.png").read_bytes().startswith(b"\x89PNG")


def test_a_few_words_are_enough_for_the_rest(vms: StandIn, root: Path, modules: Any) -> None:
    assert modules.qubes_rpc.set_gui_mode("work", "SEAMLESS") == "SEAMLESS"
    assert modules.qubes_rpc.get_appmenus("work") == {"entries": {}, "dropped": 0, "warnings": []}
    vms.handler("net", "qubes.WaitForSession", "exit 0")
    assert modules.qubes_rpc.wait_for_session("net") is True
    vms.handler("net", "qubes.SyncNtpClock", "exit 0")
    assert modules.qubes_rpc.sync_ntp_clock("net") is True
    vms.handler("net", "qubes.PostInstall", "[ $QREXEC_USER = root ] && echo 'left out: x' >&2")
    assert modules.qubes_rpc.post_install("net") == "left out: x"
    vms.handler("net", "qubes.ResizeDisk", "[ $(cat) = private ]")
    assert modules.qubes_rpc.resize_disk("net") is True
    vms.handler("net", "qubes.DetachPciDevice", "[ $(cat) = 00:06.0 ]")
    assert modules.qubes_rpc.detach_pci_device("net", "00:06.0") is True
    vms.handler("net", "qubes.SelectFile", "echo /a")
    assert modules.qubes_rpc.select_file("net") == "/a"
    vms.handler("net", "qubes.SelectDirectory", "exit 1")
    assert modules.qubes_rpc.select_directory("net") is None
    vms.handler("net", "qubes.SuspendPre", "echo no >&2; exit 1")
    vms.handler("net", "qubes.SuspendPost", "exit 0")
    assert modules.qubes_rpc.suspend_pre(["net"], ["net"]) == ["qubes.SuspendPre in net: exit status 1: no"]
    assert modules.qubes_rpc.suspend_post(["net"], ["net"]) == []


def test_the_example_with_an_address_works_as_typed(vms: StandIn, modules: Any) -> None:
    (line,) = re.findall("salt-call (.*)", modules.qubes_rpc.detach_pci_device.__doc__)
    _, *words = shlex.split(line)
    vms.machine("sys-net")
    vms.handler("sys-net", "qubes.DetachPciDevice", "[ $(cat) = 00:06.0 ]")
    assert modules.qubes_rpc.detach_pci_device(*parse_input(words)) is True


@pytest.mark.any_salt
@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("set_gui_mode", ["work", "seamless"]),
        ("set_gui_mode", ["work", 7]),
        ("resize_disk", ["work", "volatile"]),
        ("detach_pci_device", ["work", "6"]),
        ("set_date_time", ["work", "tomorrow"]),
        ("suspend_pre", ["work"]),
        ("filecopy", ["work"]),
        ("filecopy", ["work", 7]),
        ("vm_exec", ["work"]),
        ("vm_shell", ["work", None]),
        ("backup", ["work", 7, "/x"]),
        ("set_monitors", ["work", 7]),
        ("get_image", ["work", "", "/x"]),
    ],
)
def test_what_is_wrong_is_refused_in_one_sentence(
    vms: StandIn, modules: Any, function: str, arguments: list[Any]
) -> None:
    with pytest.raises(SaltInvocationError) as caught:
        getattr(modules.qubes_rpc, function)(*arguments)
    assert "\n" not in str(caught.value)


def test_tools_are_run(vms: StandIn, modules: Any) -> None:
    vms.program("work", "nm-online", "exit 0")
    vms.program("work", "resize2fs", "exit 0")
    vms.program("work", "blockdev", "echo 96")
    vms.program("work", "systemctl", "exit 0")
    vms.program("work", "gpk-update-viewer", "exit 0")
    (vms.folder / "vms/work/qubes.InstallUpdatesGUI").unlink()  # as in older VMs
    assert modules.qubes_tools.wait_for_network("work") is True
    assert modules.qubes_tools.grow_private("work") is True
    assert modules.qubes_tools.grow_private("work", size=96) is True
    assert modules.qubes_tools.switch_update_check("work", False) is True
    assert modules.qubes_tools.show_updates("work") is True
    vms.handler("net", "qubes.VMExec", "echo some; exit 100")
    assert modules.qubes_tools.check_dom0_updates("net") == {"available": True, "text": "some"}
    vms.handler("net", "qubes.VMExec", "echo some; exit 0")
    assert modules.qubes_tools.download_dom0_updates("net", ["tmux"], action="install") == "some"
    with pytest.raises(SaltInvocationError, match="action"):
        modules.qubes_tools.download_dom0_updates("net", action="erase")


def test_the_pillars_monitors_are_among_the_settings(pillar: Callable[..., Any], loaders: Loaders) -> None:
    layout = [{"width": 800, "height": 600, "x": 0, "y": 0}]
    pillar({"qubes": {"vms": {"a": {"monitors": layout}, "b": {"monitors": "from_dom0"}, "c": {}}}}, reload=True)
    found = loaders.modules.qubes_vm.settings()
    assert found == {"a": {"monitors": layout}, "b": {"monitors": "from_dom0"}, "c": {}}
