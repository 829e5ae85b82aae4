"""``qubes_vm``, functions and states: what pillars say reaches VMs, and what came of it is told VM by VM."""

from __future__ import annotations

import ast
import os
import re
import signal
from collections.abc import Callable
from signal import Signals
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from salt.loader.lazy import LazyLoader
from saltfactories.utils.functional import Loaders

from tests.functional.salt.conftest import REPOSITORY
from tests.support.dom0 import Dom0
from tests.support.stopwatch import Stopwatch
from vminterface.dom0.desired.fields import FIELDS
from vminterface.dom0.desired.persistent import PERSISTENT_FIELDS
from vminterface.dom0.desired.words import FIREWALL, MONITORS, NETVM
from vminterface.dom0.fleet.record import HostRecord
from vminterface.values.resolvers import LIMIT

PILLAR = {
    "qubes": {
        "defaults": {"timezone": "Europe/Warsaw", "services": {"cups": False}},
        "vms": {
            "work": {"timezone": "Asia/Tokyo", "services": {"cups": True, "clocksync": "default"}, "keyboard": "pl"},
            "personal": {"debug": True},
            "offline": None,
        },
    }
}


@pytest.fixture
def host(host: Dom0) -> Dom0:
    host.start_vm("personal")
    host.agent("personal")
    return host


def set_zone(zone: str, *vms: str, timeout: Any = 1) -> Any:
    return {"qubes": {"vms": {vm: {"timezone": zone, "timeout": timeout} for vm in vms}}}


def documentation(module: str, function: str) -> str:
    body = ast.parse((REPOSITORY / module).read_text()).body
    found = next(node for node in body if isinstance(node, ast.FunctionDef) and node.name == function)
    return ast.get_docstring(found) or ""


def test_the_documentation_names_every_topic() -> None:
    text = documentation("_states/qubes_vm.py", "all_configured")
    listed = text[text.index("List of fields") : text.index("Without it, all")]
    assert {*re.findall(r"``(\w+)``", listed)} == {*FIELDS, *PERSISTENT_FIELDS, NETVM, FIREWALL, MONITORS}


@pytest.mark.parametrize("function", ["push", "diff"])
def test_the_documentation_says_that_monitors_are_among_them(function: Any) -> None:
    assert "``monitors``" in documentation("_modules/qubes_vm.py", function)


def test_the_documentation_says_how_many_resolvers_a_network_has() -> None:
    assert f"at most {LIMIT} addresses" in documentation("_states/qubes_vm.py", "network")


def test_settings_show_the_pillar_with_its_defaults(pillar: Callable[..., Any]) -> None:
    modules = pillar(PILLAR, reload=True)
    desired = modules.qubes_vm.settings()
    assert list(desired) == ["work", "personal", "offline"]
    assert desired["offline"] == {"services:cups": "off", "timezone": "Europe/Warsaw"}
    assert modules.qubes_vm.settings("work", only=["services"]) == {
        "services:clocksync": "default",
        "services:cups": "on",
    }
    assert modules.qubes_vm.settings("work", only=["keyboard"]) == {"keyboard": "pl"}
    assert set(modules.qubes_vm.settings("work", only=["keyboard"], keys=True)) == {"keyboard-layout", "qubes-keyboard"}


def test_a_vm_that_the_pillar_does_not_name_is_an_error(pillar: Callable[..., Any]) -> None:
    modules = pillar(PILLAR, reload=True)
    for function in ("settings", "diff", "push"):
        with pytest.raises(CommandExecutionError, match=r"^qubes:vms:nosuch: the VM is not in the pillar$"):
            getattr(modules.qubes_vm, function)("nosuch")


def test_diff_tells_and_push_does(host: Dom0, pillar: Callable[..., Any]) -> None:
    modules = pillar(PILLAR, reload=True)
    before = host.dump()
    would = modules.qubes_vm.diff(every=True)
    assert host.dump() == before
    assert modules.qubes_vm.diff() == {vm: one for vm, one in would.items() if one["changes"]}
    assert would["personal"]["comment"] == "personal: debug, services:cups, timezone would be set"
    assert would["offline"] == {
        "ok": True,
        "running": False,
        "changes": {},
        "comment": "offline is not running: its settings need a push after the next start",
    }
    done = modules.qubes_vm.push()
    assert {vm: own["changes"] for vm, own in done.items()} == {vm: own["changes"] for vm, own in would.items()}
    assert modules.qubes_vm.diff("work")["changes"] == {}
    assert modules.qubes_vm.diff() == {}
    assert host.read("work", "qubes-timezone") == "Asia/Tokyo"


def test_the_summary_of_a_host_is_its_record_and_its_exit_status_says_whether_all_is_well(
    host: Dom0, pillar: Callable[..., Any], loaders: Loaders
) -> None:
    modules = pillar(set_zone("Europe/Warsaw", "work"), reload=True)
    assert HostRecord.parse(modules.qubes_vm.summary()).vms["work"].state == "drifted"
    assert loaders.context["retcode"] == 3
    modules.qubes_vm.push()
    assert modules.qubes_vm.summary()["counts"]["converged"] == 1
    modules = pillar({"qubes": {"vms": {"work": {"timezone": 5}}}}, reload=True)
    assert modules.qubes_vm.summary()["pillar"]["valid"] is False
    with pytest.raises(SaltInvocationError, match=r"^timeout: 0 is not valid \(expected seconds, more than 0 .*\)$"):
        modules.qubes_vm.summary(timeout=0)


def test_get_shows_what_the_store_holds_in_the_pillars_words(host: Dom0, pillar: Callable[..., Any]) -> None:
    modules = pillar(PILLAR, reload=True)
    modules.qubes_vm.push()
    assert modules.qubes_vm.get("personal") == {
        "debug": "on",
        "services:cups": "off",
        "timezone": "Europe/Warsaw",
    }
    assert modules.qubes_vm.get("personal", keys=True) == {
        "name": "personal",
        "qubes-debug-mode": "1",
        "qubes-service/cups": "0",
        "qubes-timezone": "Europe/Warsaw",
    }
    assert modules.qubes_vm.get("work", "timezone", "services:cups") == {
        "timezone": "Asia/Tokyo",
        "services:cups": "on",
    }


def test_set_sets_fields_of_one_vm(host: Dom0, modules: Any) -> None:
    changes = modules.qubes_vm.set("work", timezone="Asia/Tokyo", services={"cups": True}, debug="off")
    assert changes == {
        "timezone": {"old": "default", "new": "Asia/Tokyo"},
        "services:cups": {"old": "default", "new": "on"},
        "debug": {"old": "default", "new": "off"},
    }
    assert modules.qubes_vm.set("work", timezone="Asia/Tokyo") == {}


def test_set_refuses_bad_values_and_vms_that_do_not_run(host: Dom0, modules: Any) -> None:
    with pytest.raises(SaltInvocationError, match=r"work:timezone: '\.\./x'"):
        modules.qubes_vm.set("work", timezone="../x", debug=True)
    with pytest.raises(SaltInvocationError, match="at least one field"):
        modules.qubes_vm.set("work")
    with pytest.raises(CommandExecutionError, match="offline is not running"):
        modules.qubes_vm.set("offline", debug=True)
    assert host.read("work", "qubes-debug-mode") is None


def test_vms_shows_who_runs_and_whose_agent_is_in_work(host: Dom0, modules: Any) -> None:
    host.start_vm("silent")
    modules.qubes_vm.set("work", debug=True)
    vms = modules.qubes_vm.vms()
    assert {vm: own["domid"] for vm, own in vms.items()} == {"personal": 2, "silent": 3, "work": 1}
    assert "timezone" in vms["work"]["agent"]["settings"]
    assert vms["silent"]["agent"] is None


def test_one_state_pushes_all_vms_and_has_their_changes_by_name(
    host: Dom0, states: LazyLoader, pillar: Callable[..., Any]
) -> None:
    pillar(PILLAR)
    ret = states.qubes_vm.all_configured("push")
    assert ret.result is True
    assert ret.comment == (
        "3 VMs: 2 changed, 1 not running\noffline is not running: its settings need a push after the next start"
    )
    assert set(ret.changes) == {"work", "personal"}
    assert ret.changes["personal"] == {
        "debug": {"old": "default", "new": "on"},
        "services:cups": {"old": "default", "new": "off"},
        "timezone": {"old": "default", "new": "Europe/Warsaw"},
    }
    # Salt counts what is there beside the state's own result.
    assert "sub_state_run" not in ret.full_return


def test_only_the_topics_that_are_named_are_pushed(host: Dom0, states: LazyLoader, pillar: Callable[..., Any]) -> None:
    pillar(PILLAR)
    ret = states.qubes_vm.all_configured("push", only=["timezone", "keyboard"])
    assert set(ret.changes["work"]) == {"timezone", "keyboard"}
    assert host.read("work", "qubes-service/cups") is None


def test_a_refused_setting_is_taken_back_and_the_other_vms_converge(
    host: Dom0, states: LazyLoader, pillar: Callable[..., Any]
) -> None:
    pillar(set_zone("Europe/Warsaw", "work", "personal"))
    assert states.qubes_vm.all_configured("push").result is True
    host.guests[0].reply = lambda setting, inputs: "no such zone here" if setting == "timezone" else ""
    pillar(set_zone("Asia/Tokyo", "work", "personal"))
    ret = states.qubes_vm.all_configured("push")
    assert ret.result is False
    whole, *lines = ret.comment.splitlines()
    assert whole == "2 VMs: 1 failed (work), 1 changed"
    assert lines == ["work refused timezone: no such zone here; former values restored"]
    assert ret.changes == {"personal": {"timezone": {"old": "Europe/Warsaw", "new": "Asia/Tokyo"}}}
    assert host.read("work", "qubes-timezone") == "Europe/Warsaw"
    assert host.read("personal", "qubes-timezone") == "Asia/Tokyo"


def test_a_hung_agent_costs_its_own_deadline_once(host: Dom0, states: LazyLoader, pillar: Callable[..., Any]) -> None:
    for vm in ("hung", "dead"):
        host.start_vm(vm)
        host.agent(vm)
    vms = ("work", "personal", "hung", "dead")
    pillar(set_zone("Europe/Warsaw", *vms))
    assert states.qubes_vm.all_configured("push").result is True
    for guest in host.guests[-2:]:
        guest.reply = lambda setting, inputs: None
    pillar(set_zone("Asia/Tokyo", *vms))
    began = Stopwatch()
    ret = states.qubes_vm.all_configured("push")
    began.check(2.5)
    assert ret.result is False
    whole, *lines = ret.comment.splitlines()
    assert whole == "4 VMs: 2 failed (hung, dead), 2 changed"
    assert len(lines) == 2
    for vm, line in zip(("hung", "dead"), lines, strict=True):
        assert line.startswith(vm)
        assert line.endswith("did not acknowledge timezone within 1 s; former values restored")
        assert host.read(vm, "qubes-timezone") == "Europe/Warsaw"


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_store_that_ends_is_told_in_time_and_the_next_run_converges(
    host: Dom0, states: LazyLoader, pillar: Callable[..., Any], how: Signals
) -> None:
    process = host.daemon.process
    assert process is not None
    pillar(set_zone("Asia/Tokyo", "work", "personal"))

    def struck(setting: Any, inputs: Any) -> None:
        os.kill(process.pid, how)

    host.guests[0].reply = struck
    began = Stopwatch()
    ret = states.qubes_vm.all_configured("push")
    began.check(25)
    assert ret.result is False
    assert "Traceback" not in str(ret.raw)
    if how == signal.SIGSTOP:
        os.kill(process.pid, signal.SIGCONT)
    else:
        host.daemon.stop()
        host.daemon.start()
        for vm in ("work", "personal"):
            host.start_vm(vm)
    host.guests[0].reply = lambda setting, inputs: ""
    for vm in ("work", "personal"):
        host.agent(vm)
    assert states.qubes_vm.all_configured("push").result is True
    assert {host.read(vm, "qubes-timezone") for vm in ("work", "personal")} == {"Asia/Tokyo"}
    assert states.qubes_vm.all_configured("push").changes == {}


def test_without_an_agent_the_comment_says_when_it_takes_effect(host: Dom0, states: LazyLoader) -> None:
    host.start_vm("silent")
    ret = states.qubes_vm.timezone("silent", timezone="Asia/Tokyo")
    assert ret.result is True
    assert ret.comment == (
        "silent: timezone set; no agent is running in the VM: it is lost at the VM's next start unless pushed again "
        "(`vminterface watch` does)"
    )


def test_a_vm_must_run_where_the_state_says_so(host: Dom0, states: LazyLoader) -> None:
    ret = states.qubes_vm.timezone("offline", timezone="Asia/Tokyo", require_running=True)
    assert ret.result is False
    assert "offline is not running" in ret.comment


def test_the_library_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util
    import sys

    from tests.functional.salt.conftest import REPOSITORY

    for name in [name for name in sys.modules if name.partition(".")[0] == "vminterface"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not p.endswith("_utils")])
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if "vminterface" not in repr(f)])
    for file in ("_modules/qubes_vm.py", "_modules/xenstore.py", "_states/qubes_vm.py", "_states/xenstore.py"):
        spec = importlib.util.spec_from_file_location("alone", REPOSITORY / file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        loaded, reason = module.__virtual__()
        assert loaded is False
        assert "No module named 'vminterface'; run saltutil.sync_all" in reason


@pytest.fixture
def owned(host: Dom0) -> Dom0:
    """A VM whose owner refuses the time zone and lets its debug mode be ignored."""
    host.start_vm("owned")
    host.agent("owned", unaccepted={"timezone": "refuse", "debug": "ignore"})
    return host


OWNED = {"timezone": "UTC", "debug": True, "services": {"cups": True}, "timeout": 20}
REFUSED = "owned does not accept timezone: decided by its owner"
IGNORED = "owned ignores debug: decided by its owner"


def test_what_a_vms_owner_refuses_fails_the_state_and_all_else_stays(owned: Dom0, states: LazyLoader) -> None:
    # The first push gives the VM the node in which it can say so.
    first = states.qubes_vm.configured("owned", settings=OWNED)
    assert (first.result, first.changes) == (False, {"services:cups": {"old": "default", "new": "on"}})
    assert first.comment == f"{IGNORED}; {REFUSED}; owned: services:cups set"
    assert owned.read("owned", "qubes-service/cups") == "1"
    assert owned.read("owned", "qubes-timezone") is None
    assert owned.read("owned", "qubes-debug-mode") is None
    for test in (False, True):
        again = states.qubes_vm.configured("owned", settings=OWNED, test=test)
        assert (again.result, again.changes) == (False, {})
        assert again.comment == f"{IGNORED}; {REFUSED}; owned is otherwise as configured"
    optional = states.qubes_vm.configured("owned", settings={**OWNED, "optional": ["timezone"]}, test=True)
    assert (optional.result, optional.changes) == (True, {})


def test_a_run_over_many_vms_names_those_whose_owners_do_not_accept_all(
    owned: Dom0, pillar: Callable[..., Any], loaders: Loaders
) -> None:
    pillar({"qubes": {"vms": {"owned": OWNED, "work": {"debug": True}}}}, reload=True)
    done = loaders.states.qubes_vm.all_configured("push")
    assert done.result is False
    whole, *lines = done.comment.splitlines()
    assert whole == "2 VMs: 1 not fully accepted by the owner (owned), 1 changed"
    assert lines == [f"{IGNORED}; {REFUSED}; owned: services:cups set"]
    assert set(done.changes) == {"owned", "work"}
    assert "timezone" not in done.changes["owned"]


def test_functions_say_what_a_vms_owner_does_not_accept(owned: Dom0, pillar: Callable[..., Any]) -> None:
    modules = pillar({"qubes": {"vms": {"owned": OWNED}}}, reload=True)
    done = modules.qubes_vm.push("owned")
    assert (done["ok"], done["unaccepted"]) == (False, {"debug": "ignore", "timezone": "refuse"})
    assert modules.qubes_vm.diff("owned")["unaccepted"] == done["unaccepted"]
    assert modules.qubes_vm.drift() == {
        "owned": {
            "debug": {"store": "default", "pillar": "on", "owner": "ignore"},
            "timezone": {"store": "default", "pillar": "UTC", "owner": "refuse"},
        }
    }
    assert modules.qubes_vm.vms()["owned"]["agent"]["unaccepted"] == {
        "debug": {"owner": "ignore", "reason": "decided by its owner"},
        "timezone": {"owner": "refuse", "reason": "decided by its owner"},
    }
    with pytest.raises(CommandExecutionError, match=f"^{IGNORED}; owned: services:crond set$"):
        modules.qubes_vm.set("owned", debug=True, services={"crond": True})
