"""Functions use the pillar as it is now, on a real minion of a real master, not as the minion remembers it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from saltfactories.cli.salt import Salt as SaltCommand
from saltfactories.manager import FactoriesManager

from lab.xenstored.fakexen import missing
from tests.functional.salt.conftest import REPOSITORY
from tests.support.dom0 import Dom0
from tests.support.stores import need

pytestmark = pytest.mark.master


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dom0]:
    need(missing())
    with Dom0(tmp_path_factory.mktemp("xen")) as dom0:
        dom0.start_vm("work")
        dom0.agent("work")
        yield dom0


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory, salt_factories: FactoriesManager, host: Dom0) -> Iterator[Master]:
    """A master with one minion, dom0, whose daemon has started with the pillar of ``give`` in ``master.pillar``."""
    root = tmp_path_factory.mktemp("srv")
    (root / "pillar").mkdir()
    (root / "salt").mkdir()
    (root / "pillar/top.sls").write_text("base: {dom0: [data]}")
    (root / "pillar/data.sls").write_text(yaml.safe_dump(zone("Europe/Warsaw")))
    roots = {"file_roots": {"base": [str(root / "salt")]}, "pillar_roots": {"base": [str(root / "pillar")]}}
    master = salt_factories.salt_master_daemon(
        "master",
        overrides={
            **roots,
            "interface": "127.0.0.1",
            "auto_accept": True,
            "worker_threads": 2,
        },
    )
    minion = master.salt_minion_daemon(
        "dom0",
        overrides={
            "module_dirs": [str(REPOSITORY)],
            "enable_fqdns_grains": False,
            "mine_enabled": False,
        },
    )
    minion.environ = {**minion.environ, "XENSTORED_PATH": host.path}
    with master.started(start_timeout=180), minion.started(start_timeout=180):
        yield Master(master.salt_cli(timeout=120), root / "pillar/data.sls")


class Master:
    """Calls functions in dom0; ``pillar`` is the file of dom0's pillar."""

    def __init__(self, salt: SaltCommand, pillar: Path) -> None:
        self._salt, self.pillar = salt, pillar

    def give(self, data: object) -> None:
        self.pillar.write_text(yaml.safe_dump(data))

    def call(self, function: str, *arguments: str) -> tuple[int, Any]:
        """Return the exit status of ``salt``, 1 for any of the minion's but 0, and what the function returns."""
        done = self._salt.run(function, *arguments, minion_tgt="dom0")
        return done.returncode, done.data


def zone(name: str) -> dict[str, object]:
    return {"qubes": {"vms": {"work": {"timezone": name}}}}


@pytest.mark.timeout(600)
def test_a_minion_uses_the_pillar_as_it_is_now(master: Master, host: Dom0) -> None:
    pushed = master.call("qubes_vm.push")
    assert pushed[0] == 0, pushed
    assert host.read("work", "qubes-timezone") == "Europe/Warsaw"

    # From here on the minion remembers another pillar than it has.
    master.give(zone("Asia/Tokyo"))
    drifted = {"work": {"timezone": {"store": "Europe/Warsaw", "pillar": "Asia/Tokyo"}}}
    assert master.call("qubes_vm.drift") == (1, drifted)
    assert master.call("qubes_vm.push")[0] == 0
    assert host.read("work", "qubes-timezone") == "Asia/Tokyo"


@pytest.mark.timeout(300)
def test_no_function_takes_a_pillar_that_is_broken_for_one_that_asks_for_nothing(master: Master, host: Dom0) -> None:
    before = host.dump()
    for function, pillar, sentence in (
        ("diff", "{}", "qubes:vms: is not in the pillar of minion dom0 (expected"),
        ("push", "qubes: {vm: {}}", "qubes:vm: unknown field (did you mean 'vms'?)"),
        ("drift", "{{ nonsense", "qubes: Salt could not compile the pillar of minion dom0: "),
    ):
        master.pillar.write_text(pillar)
        status, said = master.call(f"qubes_vm.{function}")
        assert status != 0
        assert sentence in said
        assert len(said.splitlines()) == 1  # and not the function's documentation
        assert "Traceback" not in said
    assert host.dump() == before


@pytest.mark.timeout(300)
def test_a_pillar_that_a_run_of_states_is_given_is_that_of_its_functions(master: Master, host: Dom0) -> None:
    """``pillar=…`` of ``state.apply`` is nobody's file, so a function that a state calls must not compile it anew."""
    master.give(zone("Europe/Warsaw"))
    (master.pillar.parents[1] / "salt/push.sls").write_text("push: {module.run: [{qubes_vm.push: []}]}")
    status, lines = master.call("state.apply", "push", "pillar={qubes: {vms: {work: {timezone: Asia/Seoul}}}}")
    assert status == 0, lines
    assert host.read("work", "qubes-timezone") == "Asia/Seoul"
