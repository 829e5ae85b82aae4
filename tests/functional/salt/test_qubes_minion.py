"""The formula in dom0 of Qubes: installed, enabled and merged as Qubes' own Salt does it, by the real ``salt-call``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.paths import PROJECT
from lab.xenstored import fakexen
from tests.support import qubesminion
from tests.support.dom0 import Dom0
from tests.support.qubesminion import QubesMinion

pytestmark = [
    pytest.mark.allow_skip,
    pytest.mark.skipif(bool(qubesminion.missing()), reason=qubesminion.missing()),
]
SYNC = "qubesctl saltutil.sync_all"
#: How Salt merges top files, and the sources of a pillar.
TOPS, SOURCES = ("merge", "same"), ("smart", "recurse", "aggregate", "overwrite")
#: With these the external pillars replace all that there is below ``qubes``, each other's too.
REPLACING = ("aggregate", "overwrite")
COMPILE = """
import json, sys
import salt.config, salt.loader, salt.pillar
found, grains = {}, None
for tops, sources, minion in json.loads(sys.argv[2]):
    opts = salt.config.minion_config(sys.argv[1] + "/minion", minion_id=minion)
    opts.update(top_file_merging_strategy=tops, pillar_source_merging_strategy=sources, file_client="local")
    grains = grains or salt.loader.grains(opts)
    pillar = salt.pillar.get_pillar(opts, {**grains, "id": minion}, minion, "base").compile_pillar()
    pillar.pop("master")
    found[f"{tops} {sources} {minion}"] = pillar
found["ext_pillar"] = [name for one in opts["ext_pillar"] for name in one]
print(json.dumps(found))
"""


@pytest.fixture
def dom0(tmp_path: Path) -> QubesMinion:
    minion = QubesMinion(tmp_path)
    minion.pillar({"defaults": {"services": {"cups": False}}, "vms": {"work": {"timezone": "Asia/Tokyo"}}})
    minion.own({"agent": {"live_services": True}})
    minion.qubesd(
        {
            "dom0": {"type": "admin", "features": {"service.cups": "1"}, "tags": ["a"]},
            "work": {"type": "app", "template": "debian-13", "netvm": "sys-net", "features": {}, "tags": ["b"]},
            "debian-13": {"type": "template", "features": {}, "tags": []},
        }
    )
    minion.enable("vminterface", "vminterface.agent")
    minion.enable("vminterface", "vminterface-vms", pillar=True)
    return minion


def documented(page: str, path: str) -> Any:
    """Return what *page* has as the contents of the file *path*: a block named so behind its language or in line 1."""
    text = (PROJECT / "docs" / page).read_text()
    name = re.escape(path)
    (block,) = re.findall(rf"^```yaml(?: {name}\n|\n# {name}\n)(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return yaml.safe_load(block)


def test_dom0_has_what_it_pushes_and_each_vm_what_its_side_is_told_however_salt_merges(dom0: QubesMinion) -> None:
    dom0.configure("vminterface", documented("states.md", "/etc/salt/minion.d/vminterface.conf"))
    dom0.environment["XENSTORED_PATH"] = str(dom0.root / "nothing")
    dom0.call("saltutil.sync_all")
    merged = [*((TOPS[0], sources) for sources in SOURCES), (TOPS[1], SOURCES[0])]
    cases = [(*how, minion) for how in merged for minion in ("dom0", "work")]
    _, out, said = dom0.run("python", "-c", COMPILE, str(dom0.etc), json.dumps(cases))
    found = json.loads(out)
    assert [*found.pop("ext_pillar")] == ["qvm_features", "qvm_prefs", "qvm_tags", "qubes_vm"]
    assert "unavailable" not in said
    assert len(found) == len(cases), said
    for case, pillar in found.items():
        assert "_errors" not in pillar, case
        if case.endswith("work"):
            assert pillar["vminterface"] == {"agent": {"live_services": True}}, case
            assert "vms" not in pillar["qubes"], case
            assert "Tokyo" not in json.dumps(pillar), case
        else:
            assert "vminterface" not in pillar, case
            assert ("vms" in pillar["qubes"]) is (case.split()[1] not in REPLACING), case
        assert pillar["qubes"]["tags"] == ["b" if case.endswith("work") else "a"], case
        assert ("type" in pillar["qubes"]) is (case.split()[1] not in REPLACING), case


@pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing())
def test_an_enabled_formula_converges_and_states_of_the_users_environment_include_it(dom0: QubesMinion) -> None:
    dom0.write("srv/user_salt/top.sls", "user: {dom0: [mine]}")
    after = {"test.succeed_with_changes": [{"onchanges": [{"qubes_vm": "vminterface-push"}]}]}
    mine = {**documented("pillar.md", "/srv/user_salt/mine.sls"), "after": after}
    dom0.write("srv/user_salt/mine.sls", yaml.safe_dump(mine))
    with Dom0(dom0.root / "xen") as host:
        dom0.environment["XENSTORED_PATH"] = host.path
        host.start_vm("work")
        host.agent("work")

        # Nothing has copied the modules yet: that is said first, and with what to type.
        first, *others = sorted(dom0.call("state.apply", "vminterface").values(), key=lambda line: line["__run_num__"])
        assert dom0.status != 0
        assert (first["__id__"], first["result"]) == ("vminterface-push-needs-modules", False)
        assert SYNC in first["comment"]
        assert not any(line["result"] for line in others)
        assert host.read("work", "qubes-timezone") is None

        lines = {line["__id__"]: line for line in dom0.call("state.highstate").values() if "__id__" in line}
        assert dom0.status == 0, lines
        assert host.read("work", "qubes-timezone") == "Asia/Tokyo"
        assert host.read("work", "qubes-service/cups") == "0"
        assert {"vminterface-push", "after"} <= set(lines)
