"""What names this project says the same wherever it is said: the version, Salt's folders, who may need what."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import yaml

import vminterface
from vminterface.cli.formula import SALT_FOLDERS

ROOT = Path(__file__).resolve().parents[3]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = (ROOT / "version").read_text().strip()


def test_the_version_is_the_same_in_library_formula_and_packages() -> None:
    release = (ROOT / "rel").read_text().strip()
    formula = yaml.safe_load((ROOT / "formulas/vminterface/FORMULA").read_text())
    changelog = (ROOT / "debian/changelog").read_text()
    assert vminterface.__version__ == VERSION
    assert (formula["version"], str(formula["release"])) == (VERSION, release)
    assert changelog.startswith(f"vminterface ({VERSION}-{release}) ")
    assert f"\n## {VERSION}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_folder_that_salt_syncs_is_a_package_and_is_exported() -> None:
    mapped = set(PYPROJECT["tool"]["setuptools"]["package-dir"].values())
    folders = {path.parent.name for path in ROOT.glob("_[a-z]*/__init__.py")} - {"_ext"}
    assert folders <= mapped
    assert folders == set(SALT_FOLDERS)


def test_each_part_of_the_packages_is_named_where_its_builder_looks() -> None:
    builder = yaml.safe_load((ROOT / ".qubesbuilder").read_text())
    specs = {*builder["host"]["rpm"]["build"], *builder["vm"]["rpm"]["build"]}
    assert specs == {f"rpm_spec/{path.stem}" for path in (ROOT / "rpm_spec").glob("*.spec.in")}
    assert builder["vm"]["deb"]["build"] == ["debian"]
    packages = set(re.findall(r"(?m)^Package: (\S+)$", (ROOT / "debian/control").read_text()))
    assert packages == {Path(spec).stem for spec in specs}
    yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())
    for name in packages:
        spec = (ROOT / f"rpm_spec/{name}.spec.in").read_text()
        assert all(word in spec for word in ("@VERSION@", "@REL@", "@CHANGELOG@")), name


def test_no_python_older_than_the_one_that_is_required_is_promised() -> None:
    assert PYPROJECT["project"]["requires-python"] == ">=3.11"
    for text in ((ROOT / path).read_text() for path in ("debian/control", "rpm_spec/vminterface-vm.spec.in")):
        assert re.search(r"python3 (\(>= 3\.11\)|>= 3\.11)", text), json.dumps(text)
