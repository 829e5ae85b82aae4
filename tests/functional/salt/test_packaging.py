"""Once installed, from a wheel or in place, Salt finds the modules and Python the library and the command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import salt.version

ROOT = Path(__file__).resolve().parents[3]
SOURCES = (
    *("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "version"),
    *("requirements", "formulas", "pillar", "docs"),
)
PROBE_MODULE = '"""A module that only this test knows."""\n\n\ndef whereabouts():\n    return __file__\n'
# Asks Salt itself, without a minion's configuration.
ASK_SALT = """
import salt.config, salt.loader, vminterface
opts = salt.config.minion_config(None)
opts.update(root_dir={root!r}, cachedir={root!r}, extension_modules={root!r}, file_client="local", grains={{}})
print(salt.loader.minion_mods(opts)["vmi_probe.whereabouts"]())
print(vminterface.__file__)
"""
#: Says what salt-ssh packs: folders and files, each with the namespace that it gets.
ASK_THIN = """
import json, sys
from salt.utils import thin
extensions = hasattr(thin, "_discover_saltexts")
tops = thin.get_tops(extra_mods="" if extensions else "vminterface")
tops += thin._discover_saltexts()[0] if extensions else []
print(json.dumps([[top, []] if isinstance(top, str) else [top[0], list(top[1] or ())] for top in tops]))
"""
#: Loads Salt's faces in a VM that has nothing but what was packed.
IN_THE_VM = """
import importlib.util, sys
sys.path.insert(0, sys.argv[1])
for number, file in enumerate(sys.argv[2:]):
    spec = importlib.util.spec_from_file_location(f"face{number}", file)
    face = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(face)
    assert face.MISSING == "", (file, face.MISSING)
"""


def run(*command: Path | str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def outside_environment(**more: Any) -> dict[str, str]:
    """The environment without the path by which the tests find this tree's own library."""
    return {**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, **more}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the tree, as a build leaves files behind, with one more execution module to ask for."""
    copy = tmp_path / "tree"
    copy.mkdir()
    for name in SOURCES:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
    for folder in ("_utils", "_ext", *(path.name for path in ROOT.glob("_[a-z]*") if (path / "__init__.py").exists())):
        shutil.copytree(ROOT / folder, copy / folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "_modules/vmi_probe.py").write_text(PROBE_MODULE)
    return copy


#: Salt 3007 puts a module that ``thin_extra_mods`` names into ``locals()``, from where Python 3.13 does not take it.
EXTRA_MODULES_FAIL = salt.version.__saltstack_version__.major < 3008 and sys.version_info >= (3, 13)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("in_place", [False, True], ids=["wheel", "editable"])
def test_salt_finds_the_modules_of_an_installed_package(tree: Path, tmp_path: Path, in_place: bool) -> None:
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", environment)
    python = environment / "bin/python"
    # The packages of the environment that runs the tests: Salt, pip and setuptools, without a download.
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    running = run(sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    Path(site, "outer.pth").write_text(f"import site; site.addsitedir({running!r})\n")

    install: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    run(*install, *(["--editable"] if in_place else []), tree, environment=outside_environment())

    module, library = run(
        python, "-c", ASK_SALT.format(root=str(tmp_path / "minion")), environment=outside_environment()
    ).splitlines()[-2:]
    home = tree if in_place else Path(site)
    assert Path(module).is_relative_to(home)
    assert Path(library).is_relative_to(home)
    run(environment / "bin/vminterface", "formula", "--export", tmp_path / "srv", environment=outside_environment())
    exported = {str(path.relative_to(tmp_path / "srv")) for path in (tmp_path / "srv").rglob("*") if path.is_file()}
    assert exported == what_file_roots_need(tree) | {"vminterface/.exported"}
    if not in_place:
        salt_ssh_takes_the_library_along(python, Path(site), tmp_path / "thin")


def salt_ssh_takes_the_library_along(python: Path, site: Path, thin: Path) -> None:
    """By itself with Salt 3008, as its ``thin_extra_mods`` says with the others; the modules find it there."""
    if EXTRA_MODULES_FAIL:
        return
    packed = json.loads(run(python, "-c", ASK_THIN, environment=outside_environment()).splitlines()[-1])
    for top, namespace in packed:
        place = thin.joinpath(*namespace, Path(top).name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(top)
    assert (thin / "vminterface").resolve() == site / "vminterface"
    found = [path for kind in ("modules", "states") for path in (site / "saltext/vminterface" / kind).glob("[a-z]*.py")]
    faces = [path for path in found if path.name != "vmi_probe.py"]
    assert len(faces) > 8
    run(python, "-I", "-S", "-c", IN_THE_VM, thin, *faces)


def what_file_roots_need(tree: Path) -> set[str]:
    """The paths that an export of *tree* has: what Salt syncs, the formula, and with it pillar and pages."""
    salt = {path.name: path for path in tree.glob("_[a-z]*") if path.name not in ("_utils", "_ext")}
    places = {**salt, "_utils/vminterface": tree / "_utils/vminterface", "vminterface": tree / "formulas/vminterface"}
    places |= {"vminterface/pillar": tree / "pillar", "vminterface/docs": tree / "docs"}
    return {
        f"{place}/{path.relative_to(source)}"
        for place, source in places.items()
        for path in source.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and not (place in salt and path.name == "__init__.py")
    }
