"""What the emulated dom0 gets of Salt and of the packages that it needs."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest
from jinja2 import lexer

from lab.xen import salt


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copied")
    salt.copy(folder)
    return folder


def test_what_salt_needs_is_found_with_what_that_needs() -> None:
    names = {one.partition("==")[0] for one in salt.versions()}
    assert {"salt", "pyyaml", "jinja2", "markupsafe"} <= names
    assert not names & {"pytest", "pip", "pytest-salt-factories"}


def test_of_salts_packages_only_those_that_look_it_up_have_their_description(copied: Path) -> None:
    assert (copied / "salt/state.py").is_file()
    assert (copied / "yaml/__init__.py").is_file()
    assert {path.name.partition("-")[0] for path in copied.glob("*.dist-info")} <= {
        "salt",
        "opentelemetry_api",
        "opentelemetry_sdk",
    }


def test_what_is_compiled_of_a_module_comes_along_and_is_good_whatever_the_modules_time(copied: Path) -> None:
    module = copied / "jinja2/lexer.py"
    installed = SourceFileLoader("lexer", str(lexer.__file__)).get_code("lexer")
    module.write_text("what nobody reads")
    assert SourceFileLoader("lexer", str(module)).get_code("lexer") == installed
    salt.compiled_file(module).unlink()
    with pytest.raises(SyntaxError):
        SourceFileLoader("lexer", str(module)).get_code("lexer")
