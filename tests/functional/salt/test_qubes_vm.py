"""``qubes_vm``, functions and states: what pillars say reaches VMs, and what came of it is told VM by VM."""

import ast
import os
import re
import signal
import time

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.functional.salt.conftest import REPOSITORY
from vminterface.dom0.fields import FIELDS
from vminterface.dom0.settings import FIREWALL, NETVM
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
def host(host):
    host.start_vm("personal")
    host.agent("personal")
    return host


def lines(ret):
    """The lines of the run's report about single VMs, by VM."""
    return {line["low"]["name"]: line for line in ret.full_return["sub_state_run"]}


def set_zone(zone, *vms, timeout=1):
    return {"qubes": {"vms": {vm: {"timezone": zone, "timeout": timeout} for vm in vms}}}


def documentation(module, function):
    body = ast.parse((REPOSITORY / module).read_text()).body
    return next(ast.get_docstring(node) for node in body if getattr(node, "name", "") == function)


def test_the_documentation_names_every_topic():
    text = documentation("_states/qubes_vm.py", "all_configured")
    listed = text[text.index("List of topics") : text.index("Without it, all")]
    assert {*re.findall(r"``(\w+)``", listed)} == {*FIELDS, NETVM, FIREWALL}


@pytest.mark.parametrize("function", ["push", "diff"])
def test_the_documentation_says_that_monitors_are_left_out(function):
    assert "``monitors``" in documentation("_modules/qubes_vm.py", function)


def test_the_documentation_says_how_many_resolvers_a_network_has():
    assert f"at most {LIMIT} addresses" in documentation("_states/qubes_vm.py", "network")


def test_settings_show_the_pillar_with_its_defaults(pillar):
    modules = pillar(PILLAR, reload=True)
    wanted = modules.qubes_vm.settings()
    assert list(wanted) == ["work", "personal", "offline"]
    assert wanted["offline"] == {"services:cups": "off", "timezone": "Europe/Warsaw"}
    assert modules.qubes_vm.settings("work", only=["services"]) == {
        "services:clocksync": "default",
        "services:cups": "on",
    }
    assert {"keyboard", "keymap"} == set(modules.qubes_vm.settings("work", only=["keyboard"]))


def test_a_vm_that_the_pillar_does_not_name_is_an_error(pillar):
    modules = pillar(PILLAR, reload=True)
    for function in ("settings", "diff", "push"):
        with pytest.raises(CommandExecutionError, match=r"^qubes:vms:nosuch: the pillar has no such VM$"):
            getattr(modules.qubes_vm, function)("nosuch")


def test_diff_tells_and_push_does(host, pillar):
    modules = pillar(PILLAR, reload=True)
    before = host.dump()
    would = modules.qubes_vm.diff()
    assert host.dump() == before
    assert would["personal"]["comment"] == "personal: debug, services:cups, timezone would be set"
    assert would["offline"] == {
        "ok": True,
        "running": False,
        "changes": {},
        "comment": "offline is not running: its settings take effect with a push after its next start",
    }
    done = modules.qubes_vm.push()
    assert {vm: own["changes"] for vm, own in done.items()} == {vm: own["changes"] for vm, own in would.items()}
    assert modules.qubes_vm.diff("work")["changes"] == {}
    assert host.read("work", "qubes-timezone") == "Asia/Tokyo"


def test_get_shows_what_the_store_holds_in_the_pillars_words(host, pillar):
    modules = pillar(PILLAR, reload=True)
    modules.qubes_vm.push()
    assert modules.qubes_vm.get("personal") == {
        "debug": "on",
        "name": "personal",
        "services:cups": "off",
        "timezone": "Europe/Warsaw",
    }
    assert modules.qubes_vm.get("work", "timezone", "services:cups") == {
        "timezone": "Asia/Tokyo",
        "services:cups": "on",
    }


def test_set_sets_fields_of_one_vm(host, modules):
    changes = modules.qubes_vm.set("work", timezone="Asia/Tokyo", services={"cups": True}, debug="off")
    assert changes == {
        "timezone": {"old": "default", "new": "Asia/Tokyo"},
        "services:cups": {"old": "default", "new": "on"},
        "debug": {"old": "default", "new": "off"},
    }
    assert modules.qubes_vm.set("work", timezone="Asia/Tokyo") == {}


def test_set_refuses_bad_values_and_vms_that_do_not_run(host, modules):
    with pytest.raises(SaltInvocationError, match=r"work:timezone: '\.\./x'"):
        modules.qubes_vm.set("work", timezone="../x", debug=True)
    with pytest.raises(SaltInvocationError, match="at least one field"):
        modules.qubes_vm.set("work")
    with pytest.raises(CommandExecutionError, match="offline is not running"):
        modules.qubes_vm.set("offline", debug=True)
    assert host.read("work", "qubes-debug-mode") is None


def test_vms_shows_who_runs_and_whose_agent_is_in_work(host, modules):
    host.start_vm("silent")
    modules.qubes_vm.set("work", debug=True)
    vms = modules.qubes_vm.vms()
    assert {vm: own["domid"] for vm, own in vms.items()} == {"personal": 2, "silent": 3, "work": 1}
    assert "timezone" in vms["work"]["agent"]["settings"]
    assert vms["silent"]["agent"] is None


def test_all_vms_are_pushed_and_each_has_its_line(host, states, pillar):
    pillar(PILLAR)
    ret = states.qubes_vm.all_configured("push")
    assert ret.result is True
    assert ret.comment == "3 VMs: 2 changed, 1 not running"
    assert set(ret.changes) == {"work", "personal"}
    assert lines(ret)["personal"]["changes"] == {
        "debug": {"old": "default", "new": "on"},
        "services:cups": {"old": "default", "new": "off"},
        "timezone": {"old": "default", "new": "Europe/Warsaw"},
    }
    assert lines(ret)["offline"]["result"] is True


def test_only_the_topics_that_are_named_are_pushed(host, states, pillar):
    pillar(PILLAR)
    ret = states.qubes_vm.all_configured("push", only=["timezone", "keyboard"])
    assert set(lines(ret)["work"]["changes"]) == {"timezone", "keyboard", "keymap"}
    assert host.read("work", "qubes-service/cups") is None


def test_a_refused_setting_is_taken_back_and_the_other_vms_converge(host, states, pillar):
    pillar(set_zone("Europe/Warsaw", "work", "personal"))
    assert states.qubes_vm.all_configured("push").result is True
    host.guests[0].answer = lambda setting, inputs: "no such zone here" if setting == "timezone" else ""
    pillar(set_zone("Asia/Tokyo", "work", "personal"))
    ret = states.qubes_vm.all_configured("push")
    assert ret.result is False
    assert ret.comment == "2 VMs: 1 failed (work), 1 changed"
    assert lines(ret)["work"]["result"] is False
    assert "work refused timezone: no such zone here" in lines(ret)["work"]["comment"]
    assert lines(ret)["work"]["changes"] == {}
    assert lines(ret)["personal"]["changes"] == {"timezone": {"old": "Europe/Warsaw", "new": "Asia/Tokyo"}}
    assert host.read("work", "qubes-timezone") == "Europe/Warsaw"
    assert host.read("personal", "qubes-timezone") == "Asia/Tokyo"


def test_a_hung_agent_costs_its_own_deadline_once(host, states, pillar):
    for vm in ("hung", "dead"):
        host.start_vm(vm)
        host.agent(vm)
    vms = ("work", "personal", "hung", "dead")
    pillar(set_zone("Europe/Warsaw", *vms))
    assert states.qubes_vm.all_configured("push").result is True
    for guest in host.guests[-2:]:
        guest.answer = lambda setting, inputs: None
    pillar(set_zone("Asia/Tokyo", *vms))
    began = time.monotonic()
    ret = states.qubes_vm.all_configured("push")
    assert time.monotonic() - began < 2.5
    assert ret.result is False
    assert ret.comment == "4 VMs: 2 failed (hung, dead), 2 changed"
    for vm in ("hung", "dead"):
        assert "did not acknowledge timezone within 1 s; former values restored" in lines(ret)[vm]["comment"]
        assert host.read(vm, "qubes-timezone") == "Europe/Warsaw"


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_store_that_ends_is_told_in_time_and_the_next_run_converges(host, states, pillar, how):
    process = host.daemon.process
    pillar(set_zone("Asia/Tokyo", "work", "personal"))

    def struck(setting, inputs):
        os.kill(process.pid, how)

    host.guests[0].answer = struck
    began = time.monotonic()
    ret = states.qubes_vm.all_configured("push")
    assert time.monotonic() - began < 25
    assert ret.result is False
    assert "Traceback" not in str(ret.raw)
    if how == signal.SIGSTOP:
        os.kill(process.pid, signal.SIGCONT)
    else:
        host.daemon.stop()
        host.daemon.start()
        for vm in ("work", "personal"):
            host.start_vm(vm)
    host.guests[0].answer = lambda setting, inputs: ""
    for vm in ("work", "personal"):
        host.agent(vm)
    assert states.qubes_vm.all_configured("push").result is True
    assert {host.read(vm, "qubes-timezone") for vm in ("work", "personal")} == {"Asia/Tokyo"}
    assert states.qubes_vm.all_configured("push").changes == {}


def test_without_an_agent_the_comment_says_when_it_takes_effect(host, states):
    host.start_vm("silent")
    ret = states.qubes_vm.timezone("silent", timezone="Asia/Tokyo")
    assert ret.result is True
    assert ret.comment == (
        "silent: timezone set; no agent is running there: it is gone at the VM's next start, unless it is pushed again "
        "(`vminterface watch` does)"
    )


def test_a_vm_must_run_where_the_state_says_so(host, states):
    ret = states.qubes_vm.timezone("offline", timezone="Asia/Tokyo", require_running=True)
    assert ret.result is False
    assert "offline is not running" in ret.comment


def test_the_library_missing_is_told(monkeypatch):
    import importlib.util
    import sys

    from tests.functional.salt.conftest import REPOSITORY

    for name in [name for name in sys.modules if name.partition(".")[0] == "vminterface"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not p.endswith("_utils")])
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if "vminterface" not in repr(f)])
    for file in ("_modules/qubes_vm.py", "_modules/xenstore.py", "_states/qubes_vm.py", "_states/xenstore.py"):
        spec = importlib.util.spec_from_file_location("alone", REPOSITORY / file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        loaded, reason = module.__virtual__()
        assert loaded is False
        assert "vminterface cannot be imported (No module named 'vminterface')" in reason
