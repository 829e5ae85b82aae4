"""What the emulated dom0 gets of Salt and of the packages that it needs."""

from __future__ import annotations

from pathlib import Path

from lab.xen import salt


def test_what_salt_needs_is_found_with_what_that_needs() -> None:
    names = {one.partition("==")[0] for one in salt.versions()}
    assert {"salt", "pyyaml", "jinja2", "markupsafe"} <= names
    assert not names & {"pytest", "pip", "pytest-salt-factories"}


def test_of_salts_packages_only_those_that_look_it_up_have_their_description(tmp_path: Path) -> None:
    salt.copy(tmp_path)
    assert (tmp_path / "salt/state.py").is_file()
    assert (tmp_path / "yaml/__init__.py").is_file()
    assert {path.name.partition("-")[0] for path in tmp_path.glob("*.dist-info")} <= {
        "salt",
        "opentelemetry_api",
        "opentelemetry_sdk",
    }
    assert not list(tmp_path.rglob("__pycache__"))
