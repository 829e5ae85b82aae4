"""Man pages, completion and schema for a system's share folder are made of the command and of docs/, and are clean."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stores import need
from vminterface.cli.completion import SCRIPTS
from vminterface.cli.main import command_line
from vminterface.dom0.desired.fields import FIELDS

ROOT = Path(__file__).parents[3]
PAGES = ("man1/vminterface.1", "man5/vminterface-pillar.5")


def make(folder: Path) -> Path:
    """Run the tool with nothing of an environment, as a packager does."""
    env = {"PATH": os.environ["PATH"], "SOURCE_DATE_EPOCH": "1790000000"}
    done = subprocess.run(
        [sys.executable, "-I", str(ROOT / "tools/make-share"), str(folder)], env=env, capture_output=True, text=True,
        timeout=60, check=False, cwd="/",
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("share"))


def shown(page: Path) -> str:
    """Return the page as it is read, without the marks of letters that are bold or underlined."""
    env = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "200", "MANPAGER": "cat"}
    done = subprocess.run(["man", "-l", str(page)], env=env, capture_output=True, text=True, timeout=60, check=True)
    return re.sub(r".\x08|\x1b\[[0-9;]*m", "", done.stdout)


def test_it_is_the_same_each_time_and_in_the_places_that_systems_look_into(share: Path, tmp_path: Path) -> None:
    again = make(tmp_path / "again")
    files = {str(path.relative_to(share)): path.read_bytes() for path in share.rglob("*") if path.is_file()}
    assert {str(path.relative_to(again)): path.read_bytes() for path in again.rglob("*") if path.is_file()} == files
    assert set(files) == {
        "man/man1/vminterface.1", "man/man5/vminterface-pillar.5", "vminterface/pillar.schema.json",
        "bash-completion/completions/vminterface", "zsh/site-functions/_vminterface",
        "fish/vendor_completions.d/vminterface.fish",
    }  # fmt: skip
    assert files["zsh/site-functions/_vminterface"].decode() == SCRIPTS["zsh"]
    assert files["vminterface/pillar.schema.json"] == (ROOT / "pillar/vminterface.schema.json").read_bytes()


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_have_no_fault_that_man_or_mandoc_finds(share: Path, page: str) -> None:
    for program in ("man", "mandoc"):
        if shutil.which(program) is None:
            need(f"{program} is not installed")
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    file = str(share / "man" / page)
    for words in (
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"],
        ["mandoc", "-T", "lint", "-W", "warning"],
    ):
        done = subprocess.run([*words, file], env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.stderr == ""
        assert done.returncode == 0
        assert words[0] == "man" or done.stdout == ""


def test_the_page_of_the_command_has_every_command_and_option(share: Path) -> None:
    text = shown(share / "man" / PAGES[0])
    [several] = [one for one in command_line()._actions if hasattr(one, "_choices_actions")]
    assert isinstance(several.choices, dict)
    for name, sub in several.choices.items():
        assert f"vminterface {name} " in text, name
        for action in sub._actions:
            for option in action.option_strings:
                assert option in text or option in ("-h", "--help"), (name, option)
    assert "EXIT STATUS" in text
    assert "NO_COLOR" in text
    assert "2026-09-21" in text


def test_the_page_of_the_pillar_has_every_field_and_nothing_of_markdown(share: Path) -> None:
    text = shown(share / "man" / PAGES[1])
    for field in FIELDS:
        assert re.search(rf"^ +{field}\b", text, re.MULTILINE), field
    assert not re.search(r"`|\]\(|\*\*|^\|", text, re.MULTILINE)
    assert "10.137.0.12, netmask: 255.255.255.255" in text
    assert "HOW A PUSH OF A VM IS DONE" in text


def test_a_wrong_call_says_how_it_is_called() -> None:
    done = subprocess.run([str(ROOT / "tools/make-share")], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: tools/make-share FOLDER\n")


@pytest.mark.parametrize("folder", ["", "file"])
def test_a_folder_that_is_none_is_one_sentence(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [str(ROOT / "tools/make-share"), folder], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        (1, "", "tools/make-share: file/man/man1: Not a directory\n")
        if folder
        else (2, "", "usage: tools/make-share FOLDER\n")
    )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_fence_with_words_behind_its_language_is_an_example(share: Path) -> None:
    fences = re.findall(r"^```\w* .+\n(.*)", (ROOT / "docs/pillar.md").read_text(), re.MULTILINE)
    page = (share / "man" / PAGES[1]).read_text()
    assert fences
    assert all(f".nf\n{line}\n" in page for line in fences)
    assert "```" not in page.replace("\\(ga", "`")
