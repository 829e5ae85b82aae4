"""Once installed, from a wheel or in place, Salt finds the modules and Python the library and the command."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "requirements")
PROBE_MODULE = '"""A module that only this test knows."""\n\n\ndef whereabouts():\n    return __file__\n'
# Asks Salt itself, without a minion's configuration.
ASK_SALT = """
import salt.config, salt.loader, vminterface
opts = salt.config.minion_config(None)
opts.update(root_dir={root!r}, cachedir={root!r}, extension_modules={root!r}, file_client="local", grains={{}})
print(salt.loader.minion_mods(opts)["vmi_probe.whereabouts"]())
print(vminterface.__file__)
"""


def run(*command, environment=None):
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


def outside_environment(**more):
    """The environment without the path by which the tests find this tree's own library."""
    return {**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, **more}


@pytest.fixture
def tree(tmp_path):
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


@pytest.mark.timeout(300)
@pytest.mark.parametrize("in_place", [False, True], ids=["wheel", "editable"])
def test_salt_finds_the_modules_of_an_installed_package(tree, tmp_path, in_place):
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", environment)
    python = environment / "bin/python"
    # The packages of the environment that runs the tests: Salt, pip and setuptools, without a download.
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    running = run(sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    Path(site, "outer.pth").write_text(f"import site; site.addsitedir({running!r})\n")

    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    run(*install, *(["--editable"] if in_place else []), tree, environment=outside_environment())

    module, library = run(
        python, "-c", ASK_SALT.format(root=str(tmp_path / "minion")), environment=outside_environment()
    ).splitlines()[-2:]
    home = tree if in_place else Path(site)
    assert Path(module).is_relative_to(home)
    assert Path(library).is_relative_to(home)
    assert (environment / "bin/vminterface").is_file()
