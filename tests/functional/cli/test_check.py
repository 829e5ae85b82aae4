"""``vminterface check`` and ``schema`` need no host; pre-commit runs the first for an admin's own repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vminterface.cli.main import main
from vminterface.dom0.desired.schema import of_pillar

ROOT = Path(__file__).parents[3]
GOOD = "qubes:\n  vms:\n    work: {timezone: Europe/Warsaw, services: {clocksynk: on}}\n"
BAD = "qubes:\n  vms:\n    work: {zone: UTC, network: {ip: 10.0.0.1, gateway: x}}\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XENSTORED_PATH", "/nonexistent")
    (tmp_path / "good.sls").write_text(GOOD)
    (tmp_path / "bad.sls").write_text(BAD)
    return tmp_path


@pytest.mark.parametrize("words", [["good.sls"], ["--pillar", "good.sls"]])
def test_a_valid_pillar_is_one_line_and_what_was_probably_not_meant_is_said(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(["check", *words]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.splitlines() == [
        "good.sls: 1 VM: valid",
        "  work: services:clocksynk is not a service of Qubes (did you mean 'clocksync'?)",
    ]


def test_every_error_of_every_file_has_its_path(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "bad.sls", "good.sls", "gone.sls"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("good.sls: 1 VM: valid\n")
    assert said.err.splitlines() == [
        "vminterface: bad.sls: qubes:vms:work:zone: unknown field (did you mean 'timezone'?)",
        "vminterface: bad.sls: qubes:vms:work:network:gateway: 'x' is not a valid IPv4 address (expected four numbers"
        " from 0 to"
        " 255 with dots between)",
        "vminterface: gone.sls: cannot be read: No such file or directory",
    ]


def test_a_file_that_is_no_yaml_is_named_with_the_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "bad.sls").write_text("qubes:\n  vms: [\n")
    assert main(["check", "bad.sls"]) == 1
    assert capsys.readouterr().err.startswith("vminterface: bad.sls:3: is not valid YAML: ")


def test_programs_get_one_object_for_each_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json", "bad.sls", "good.sls"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["good.sls"] | {"notes": []} == {"ok": True, "vms": ["work"], "errors": [], "notes": []}
    assert (data["bad.sls"]["ok"], len(data["bad.sls"]["errors"])) == (False, 2)


def test_no_file_at_all_is_a_wrong_call(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 2
    assert "needs a FILE" in capsys.readouterr().err


def test_the_schema_is_printed_as_it_is_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed) == of_pillar()
    assert printed == (ROOT / "pillar/vminterface.schema.json").read_text()


def run(folder: Path, *words: str, status: int = 0) -> str:
    """Run a program with nothing of the machine's own configuration of git and pre-commit."""
    env = {
        **os.environ,
        "HOME": str(folder),
        "PRE_COMMIT_HOME": str(folder.parent / "cache"),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "PATH": f"{folder.parent}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def commit(folder: Path) -> str:
    run(folder, "git", "init", "-q")
    run(folder, "git", "add", ".")
    run(folder, "git", "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "all")
    return run(folder, "git", "rev-parse", "HEAD").strip()


def test_pre_commit_refuses_a_bad_pillar_and_looks_at_no_other_file(tmp_path: Path) -> None:
    """The command is the one on the path, as a test has no network: all else of the hook is as it is shipped."""
    hooks, repository, bin_ = tmp_path / "hooks", tmp_path / "repository", tmp_path / "bin"
    for folder in (hooks, repository / "pillar", bin_):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", hooks)
    command = bin_ / "vminterface"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT}/_utils exec {sys.executable} -m vminterface "$@"\n')
    command.chmod(0o755)
    revision = commit(hooks)
    (repository / ".pre-commit-config.yaml").write_text(
        f"repos:\n- repo: {hooks}\n  rev: {revision}\n  hooks:\n"
        "  - {id: vminterface-check, language: system, additional_dependencies: []}\n"
    )
    pillar, other = repository / "pillar/vminterface.sls", repository / "pillar/other.sls"
    pillar.write_text(GOOD)
    other.write_text(BAD)
    commit(repository)
    assert "Passed" in run(repository, "pre-commit", "run", "--all-files")
    pillar.write_text(BAD)
    said = run(repository, "pre-commit", "run", "--all-files", status=1)
    assert "pillar/vminterface.sls: qubes:vms:work:zone: unknown field (did you mean 'timezone'?)" in said
    assert "other.sls" not in said
