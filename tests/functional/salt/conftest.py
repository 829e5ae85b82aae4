"""Salt's real loaders over this tree: ``modules.NAME.function()``, ``states.NAME.function()``, loaded in place."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import salt.config
import yaml
from salt.loader.lazy import LazyLoader
from saltfactories.utils.functional import Loaders

from lab.xenstored.fakexen import missing
from tests.support import saltdaemons, saltloader
from tests.support.dom0 import Dom0
from tests.support.rpcstandin import StandIn
from tests.support.stores import need

REPOSITORY = Path(__file__).resolve().parents[3]

# Pytest asks every importer for a spec, which Salt's own (for nacl) cannot give.
sys.meta_path[:] = [importer for importer in sys.meta_path if hasattr(importer, "find_spec")]

saltdaemons.drop_log_handlers()


@pytest.fixture(scope="session", autouse=True)
def search_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        saltloader.search_once(patch)
        yield


@pytest.fixture(scope="session")
def salt_factories_config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return saltdaemons.factories(tmp_path_factory.mktemp("salt"))


@pytest.fixture(scope="module")
def minion_opts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options of a masterless minion that keeps all it writes below its own folder."""
    root = tmp_path_factory.mktemp("minion")
    state_root, pillar_root = root / "srv/salt", root / "srv/pillar"
    for folder in (state_root, pillar_root, root / "cache", root / "etc/minion.d"):
        folder.mkdir(parents=True)
    opts = salt.config.DEFAULT_MINION_OPTS.copy()
    opts.update(
        root_dir=str(root),
        conf_file=str(root / "etc/minion"),
        config_dir=str(root / "etc"),
        default_include="minion.d/*.conf",
        id="dom0",
        file_client="local",
        local=True,
        file_roots={"base": [str(state_root)]},
        pillar_roots={"base": [str(pillar_root)]},
        module_dirs=[str(REPOSITORY)],
        enable_fqdns_grains=False,
    )
    (root / "etc/minion").write_text("")
    applied: dict[str, Any] = salt.config.apply_minion_config(opts, minion_id=False)
    return applied


@pytest.fixture(scope="module")
def loaders(minion_opts: dict[str, Any]) -> Loaders:
    return Loaders(minion_opts)


@pytest.fixture(autouse=True)
def reset_loaders_state(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave no ``__context__`` and no changed option for the next test, where a test uses the loaders at all."""
    yield
    if "loaders" in request.fixturenames:
        request.getfixturevalue("loaders").reset_state()


@pytest.fixture
def modules(loaders: Loaders) -> Any:
    return loaders.modules


@pytest.fixture
def states(loaders: Loaders) -> LazyLoader:
    return loaders.states


@pytest.fixture
def state_tree(minion_opts: dict[str, Any]) -> Path:
    """The folder that ``state.apply`` takes its files from."""
    return Path(minion_opts["file_roots"]["base"][0])


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dom0]:
    """A dom0 with the real xenstored, which Salt finds, and a running VM called work whose agent accepts everything."""
    need(missing())
    with Dom0(tmp_path / "xen") as dom0:
        monkeypatch.setenv("XENSTORED_PATH", dom0.path)
        dom0.start_vm("work")
        dom0.agent("work")
        yield dom0


@pytest.fixture
def vms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """What stands for qrexec, found on the path, with a VM called work that has the shipped handlers."""
    (tmp_path / "qrexec").mkdir()
    stand_in = StandIn(tmp_path / "qrexec")
    monkeypatch.setenv("PATH", f"{stand_in.folder}:{os.environ['PATH']}")
    stand_in.machine("work")
    return stand_in


@pytest.fixture
def pillar(minion_opts: dict[str, Any], loaders: Loaders) -> Iterator[Callable[..., Any]]:
    """Gives the minion a pillar for one test: states see it at once, the modules that it returns after *reload*."""
    top = Path(minion_opts["pillar_roots"]["base"][0]) / "top.sls"

    reloaded = False

    def give(data: Any, *, reload: Any = False) -> Any:
        nonlocal reloaded
        top.write_text("base: {'*': [data]}")
        top.with_name("data.sls").write_text("#!yaml\n" + yaml.safe_dump(data, sort_keys=False))
        if reload:
            reloaded = True
            loaders.reload_all()
        return loaders.modules

    yield give
    top.unlink(missing_ok=True)
    if reloaded:
        loaders.reload_all()
