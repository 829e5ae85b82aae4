"""What lasts, what is known, and what has drifted, through Salt: with a qubesd, and with the real xenstored alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import salt.loader
import yaml
from salt.loader.lazy import LazyLoader, LoadedFunc
from saltfactories.utils.functional import Loaders

from lab.qubesd import Refused
from lab.qubesd.daemon import Qubesd
from lab.qubesd.stores import StoreWriter
from tests.functional.salt.conftest import REPOSITORY
from tests.functional.salt.test_formula import Salt
from tests.support.dom0 import Dom0
from tests.support.qubesd import qubes_r4

WORK = {"timezone": "Europe/Warsaw", "services": {"cups": True}}


@pytest.fixture
def qubesd(host: Dom0, tmp_path: Path) -> Iterator[Qubesd]:
    """A qubesd beside the host's store, which it writes as it does."""

    live = StoreWriter(lambda vm: host.store(), lambda vm: f"/local/domain/{host.domids[vm]}/")
    with qubes_r4(tmp_path, "work", "idle", live=live) as daemon:
        # Without a network: sys-net does not run here.
        daemon.qubes["work"].properties["netvm"] = ""
        daemon.start_vm("work")
        yield daemon


def test_a_state_makes_it_last_says_so_and_has_nothing_left_to_do(
    qubesd: Qubesd, host: Dom0, states: LazyLoader
) -> None:
    would = states.qubes_vm.configured("work", settings=WORK, test=True)
    assert would.result is None
    assert qubesd.qubes["work"].features == {}
    done = states.qubes_vm.configured("work", settings=WORK)
    assert done.result is True, done.comment
    assert done.changes == would.changes
    assert done.changes["persistent:services:cups"] == {"old": "default", "new": "on"}
    assert done.changes["timezone"] == {"old": "Etc/UTC", "new": "Europe/Warsaw"}
    assert qubesd.qubes["work"].features == {"service.cups": "1", "vm-config.vminterface-timezone": "Europe/Warsaw"}
    for test in (False, True):
        again = states.qubes_vm.configured("work", settings=WORK, test=test)
        assert (again.result, again.changes) == (True, {})


def test_a_vm_that_does_not_run_is_changed_for_its_next_start(qubesd: Qubesd, states: LazyLoader) -> None:
    done = states.qubes_vm.service_disabled("idle", services="cups")
    assert done.result is True
    assert done.changes == {"persistent:services:cups": {"old": "default", "new": "off"}}
    assert "idle is not running: persistent:services:cups set" in done.comment
    assert states.qubes_vm.service_disabled("idle", services="cups").changes == {}


KEPT = [
    ("features", {"features": {"internal": True, "gui-videoram-min": 16384}}, {
        "persistent:features:internal": {"old": "default", "new": "on"},
        "persistent:features:gui-videoram-min": {"old": "default", "new": "16384"},
    }),
    ("properties", {"label": "red", "memory": "1GiB", "maxmem": False, "autostart": True}, {
        "persistent:label": {"old": "default", "new": "red"},
        "persistent:memory": {"old": "default", "new": 1024},
        "persistent:maxmem": {"old": "default", "new": 0},
        "persistent:autostart": {"old": "default", "new": "on"},
    }),
]  # fmt: skip


@pytest.mark.parametrize("vm", ["work", "idle"])
@pytest.mark.parametrize(("function", "arguments", "changes"), KEPT, ids=["features", "properties"])
def test_what_qubesd_alone_keeps_is_set_of_any_vm_and_then_stays(
    qubesd: Any, states: Any, vm: Any, function: Any, arguments: Any, changes: Any
) -> None:
    def apply(**more: Any) -> Any:
        return getattr(states.qubes_vm, function)(vm, **arguments, **more)

    def held() -> Any:
        return qubesd.qubes[vm].features, qubesd.qubes[vm].properties

    before = json.dumps(held())
    would = apply(test=True)
    assert (would.result, would.changes) == (None, changes)
    assert json.dumps(held()) == before
    done = apply()
    assert (done.result, done.changes) == (True, changes), done.comment
    for test in (False, True):
        again = apply(test=test)
        assert (again.result, again.changes) == (True, {}), again.comment


@pytest.mark.any_salt
@pytest.mark.parametrize(
    ("function", "arguments", "error"),
    [
        ("features", {"features": {"gui-trayicon-mode": "green"}}, "work:features:gui-trayicon-mode: 'green' is not"),
        ("features", {"features": None}, "work:features: has no value"),
        ("properties", {"label": "default"}, "work:label: has no default"),
        ("properties", {}, "needs one of label, memory"),
    ],
)
@pytest.mark.parametrize("test", [True, False])
def test_what_qubesd_would_stumble_over_fails_and_changes_nothing(
    qubesd: Any, states: Any, function: Any, arguments: Any, error: Any, test: Any
) -> None:
    ret = getattr(states.qubes_vm, function)("work", **arguments, test=test)
    assert (ret.result, ret.changes) == (False, {})
    assert error in ret.comment
    assert qubesd.calls == [] or not any("Set" in method for method, _, _ in qubesd.calls)


@pytest.mark.parametrize(("function", "arguments", "changes"), KEPT, ids=["features", "properties"])
def test_where_there_is_no_qubesd_it_cannot_be_kept(
    host: Any, states: Any, function: Any, arguments: Any, changes: Any
) -> None:
    ret = getattr(states.qubes_vm, function)("work", **arguments)
    assert (ret.result, ret.changes) == (False, {})
    assert "only stored by qubesd, which this host does not have" in ret.comment


def test_persist_false_of_a_state_goes_before_the_pillar(
    qubesd: Qubesd, states: LazyLoader, pillar: Callable[..., Any]
) -> None:
    pillar({"qubes": {"vms": {"work": {**WORK, "persist": True}}}})
    done = states.qubes_vm.all_configured("push", persist=False)
    assert done.result is True
    assert qubesd.qubes["work"].features == {}
    assert states.qubes_vm.all_configured("push").changes
    assert qubesd.qubes["work"].features["service.cups"] == "1"


def test_what_qubesd_refuses_is_a_failure_in_one_sentence(qubesd: Qubesd, host: Dom0, states: LazyLoader) -> None:
    qubesd.refuse["admin.vm.feature.Set", "service.cups"] = Refused("QubesVMError", "not now")
    failed = states.qubes_vm.configured("work", settings=WORK)
    assert (failed.result, failed.changes) == (False, {})
    assert failed.comment == "work: services:cups (feature service.cups): not now; former values restored"
    assert host.read("work", "qubes-timezone") == "Etc/UTC"
    assert "vm-config.vminterface-timezone" not in qubesd.qubes["work"].features


def test_an_anonymous_vm_is_left_without_the_zone_of_the_defaults_by_every_function(
    qubesd: Qubesd, host: Dom0, pillar: Callable[..., Any], states: LazyLoader
) -> None:
    qubesd.qubes["work"].features["anon-timezone"] = "1"
    qubesd.start_vm("work")
    desired = {"qubes": {"defaults": {"timezone": "Europe/Warsaw"}, "vms": {"work": {}}}}
    remark = "the timezone of the defaults is left out, because the VM has the feature anon-timezone"
    pillar(desired)
    for test in (True, False):
        done = states.qubes_vm.configured("work", test=test)
        assert (done.result, done.changes) == (True, {})
        assert remark in done.comment
    own = states.qubes_vm.timezone("work", timezone="Asia/Tokyo")
    assert own.result is True
    assert host.read("work", "qubes-timezone") == "Asia/Tokyo"
    assert states.qubes_vm.timezone("work", timezone="default").result is True
    modules = pillar(desired, reload=True)
    for found in (modules.qubes_vm.diff("work"), modules.qubes_vm.push("work")):
        assert (found["ok"], found["changes"]) == (True, {})
        assert remark in found["comment"]
    assert modules.qubes_vm.drift() == {}
    assert host.read("work", "qubes-timezone") is None


def test_a_state_of_meminfo_writer_leaves_maxmem_alone_and_has_nothing_left_to_do(
    qubesd: Qubesd, host: Dom0, states: LazyLoader
) -> None:
    qubesd.qubes["work"].properties["maxmem"] = "1234"
    done = states.qubes_vm.service_disabled("work", services="meminfo-writer")
    assert done.result is True
    assert set(done.changes) == {"services:meminfo-writer"}
    assert "holds until the VM's next start" in done.comment
    for test in (True, False):
        again = states.qubes_vm.service_disabled("work", services="meminfo-writer", test=test)
        assert (again.result, again.changes) == (True, {})
    back = states.qubes_vm.service_default("work", services="meminfo-writer")
    assert back.changes == {"services:meminfo-writer": {"old": "off", "new": "on"}}
    assert qubesd.qubes["work"].features == {}
    assert qubesd.qubes["work"].properties["maxmem"] == "1234"


def test_several_layouts_fail_the_vm_that_has_them_at_their_path(
    qubesd: Qubesd, host: Dom0, pillar: Callable[..., Any], states: LazyLoader
) -> None:
    pillar({"qubes": {"vms": {"work": {"keyboard": "us,ru"}, "idle": {"keyboard": "us"}}}})
    for test in (True, False):
        failed = states.qubes_vm.configured("work", test=test)
        assert (failed.result, failed.changes) == (False, {})
        assert failed.comment.startswith("qubes:vms:work:keyboard: qubesd stores one layout, not 'us,ru'")
    assert states.qubes_vm.configured("idle").result is True
    assert states.qubes_vm.configured("work", persist=False).result is True
    assert host.read("work", "keyboard-layout") == "us,ru++"
    refused = states.qubes_vm.keyboard("work", layout="us,de")
    assert (refused.result, "with persist: false several are pushed" in refused.comment) == (False, True)
    assert states.qubes_vm.keyboard("work", layout="us,de", persist=False).result is True
    assert host.read("work", "keyboard-layout") == "us,de++"


def test_confirm_false_does_not_wait(host: Dom0, states: LazyLoader) -> None:
    host.start_vm("slow")
    host.agent("slow", lambda setting, inputs: None).announced.wait(1)
    settings = {"timezone": "Europe/Warsaw", "timeout": 60}
    done = states.qubes_vm.configured("slow", settings=settings, confirm=False)
    assert done.result is True
    assert done.changes


def test_drift_names_what_a_vm_or_somebody_else_has_changed(
    host: Dom0, pillar: Callable[..., Any], loaders: Loaders
) -> None:
    modules = pillar({"qubes": {"vms": {"work": WORK, "idle": WORK}}}, reload=True)
    modules.qubes_vm.push()
    assert modules.qubes_vm.drift() == {}
    assert loaders.context.get("retcode", 0) == 0
    home = f"/local/domain/{host.domids['work']}"
    with host.store() as store:
        store.set_permissions(f"{home}/qubes-timezone", [f"n{host.domids['work']}"])
        store.write(f"{home}/qubes-service/cups", b"0")
    with host.guest_store("work") as guest:
        guest.write("qubes-timezone", b"Mars/\x1b[2JOlympus")
    assert modules.qubes_vm.drift() == {
        "work": {
            "services:cups": {"store": "off", "pillar": "on"},
            "timezone": {"store": "Mars/\\x1b[2JOlympus", "pillar": "Europe/Warsaw"},
        }
    }
    assert loaders.context["retcode"] == 3
    assert set(modules.qubes_vm.drift("work", only=["services"])["work"]) == {"services:cups"}


def test_drift_tells_what_qubesd_holds_and_a_vm_that_cannot_be_compared(
    qubesd: Qubesd, host: Dom0, pillar: Callable[..., Any]
) -> None:
    modules = pillar({"qubes": {"vms": {"idle": WORK, "nosuch": WORK}}}, reload=True)
    found = modules.qubes_vm.drift()
    assert found["idle"]["persistent:services:cups"] == {"store": "default", "pillar": "on"}
    # "fault" is the former name of "error", until 1.0.
    assert list(found["nosuch"]) == ["error", "fault"]
    assert "nosuch" in found["nosuch"]["error"] == found["nosuch"]["fault"]


@pytest.fixture
def ext_pillar(loaders: Loaders, minion_opts: dict[str, Any]) -> LoadedFunc:
    # Named, because the tree has a pillar of its own as well, which module_dirs would take for the modules'.
    opts = {**minion_opts, "pillar_dirs": [str(REPOSITORY / "_pillar")]}
    return salt.loader.pillars(opts, loaders.modules)["qubes_vm"]


def test_the_pillar_says_what_is_known_of_every_vm(
    qubesd: Qubesd, host: Dom0, ext_pillar: LoadedFunc, states: LazyLoader
) -> None:
    states.qubes_vm.configured("work", settings=WORK)
    known = ext_pillar("dom0", {})["qubes_known"]
    assert set(known) == {"idle", "sys-net", "work"}
    assert known["idle"] == {
        "running": False,
        "domid": None,
        "keys": {},
        "invalid": [],
        "class": "AppVM",
        "features": {},
    }
    assert known["work"]["domid"] == host.domids["work"]
    assert known["work"]["features"]["service.cups"] == "1"
    assert known["work"]["keys"]["timezone"] == "Europe/Warsaw"
    json.dumps(known)


def test_a_qubesd_that_hangs_leaves_the_pillar_without_it_in_time(
    qubesd: Qubesd, ext_pillar: LoadedFunc, caplog: pytest.LogCaptureFixture
) -> None:
    qubesd.hung.set()
    with caplog.at_level("WARNING"):
        assert ext_pillar("dom0", {}) == {}
    assert "no reply from qubesd within 2 s" in caplog.text


def test_another_minion_gets_nothing(host: Dom0, ext_pillar: LoadedFunc) -> None:
    assert ext_pillar("other", {}, minion="dom0") == {}
    assert "work" in ext_pillar("dom0", {}, minion="dom0")["qubes_known"]
    assert ext_pillar("other", {}) == {}


def test_a_vms_own_pillar_has_what_is_known_of_it_alone(host: Dom0, ext_pillar: LoadedFunc) -> None:
    host.start_vm("personal")
    assert set(ext_pillar("work", {})["qubes_known"]) == {"work"}
    assert set(ext_pillar("dom0", {})["qubes_known"]) == {"work", "personal"}
    assert set(ext_pillar("host", {}, minion="host")["qubes_known"]) == {"work", "personal"}


def test_what_a_vm_has_written_that_is_not_valid_is_left_out_and_listed_by_field(
    host: Dom0, ext_pillar: LoadedFunc
) -> None:
    home = f"/local/domain/{host.domids['work']}"
    hostile = {
        "qubes-timezone": b"{{ salt['cmd.run']('id') }}",
        "qubes-ip": b"10.137.0.12\n- evil: yes",
        "qubes-service/cups": b"1",
        "vm-config/note": b"tab\there",
        "vm-config/ok": b"{a: 'b'}",
    }
    with host.store() as store:
        for name, value in hostile.items():
            store.write(f"{home}/{name}", value)
    known = ext_pillar("dom0", {})["qubes_known"]["work"]
    assert known["invalid"] == ["network:ip", "timezone", "vm_config:note"]
    assert known["keys"]["services:cups"] == "on"
    assert known["keys"]["vm_config:ok"] == "{a: 'b'}"
    assert not {"timezone", "network:ip", "vm_config:note"} & set(known["keys"])


def test_a_formula_can_use_what_is_known(host: Dom0, tmp_path: Path) -> None:
    """By the real salt-call, once the modules are synced: the configuration that the pillar module's own text shows."""
    (tmp_path / "minion.d").mkdir()
    salt_call = Salt(tmp_path / "minion.d", host.path)
    config = yaml.safe_load((salt_call.root / "minion").read_text())
    config["ext_pillar"] = [{"qubes_vm": {}}]
    (salt_call.root / "minion").write_text(yaml.safe_dump(config))
    salt_call.call("saltutil.sync_all")
    (salt_call.states / "example.sls").write_text(
        "{%- for vm, known in pillar['qubes_known'].items() if known.running %}\n"
        "{{ vm }} runs as {{ known.domid }}:\n  test.nop: []\n"
        "{%- endfor %}\n"
    )
    assert [line["__id__"] for line in salt_call.call("state.apply", "example").values()] == ["work runs as 1"]
