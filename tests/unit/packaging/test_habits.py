"""What helps those who join: hooks, workflows and forms say what the Makefile and the tree have."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
MAKEFILE = (ROOT / "Makefile").read_text()
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
GOALS = {goal for line in re.findall(r"^([\w -]+):", MAKEFILE, re.MULTILINE) for goal in line.split()}


def test_the_hooks_run_what_make_lint_runs() -> None:
    recipe = MAKEFILE.partition("\nlint:")[2].partition("\n\n")[0]
    linted = [" ".join(line.split()[:2]) for line in recipe.replace("$(LINT)", ".venv/lint").splitlines()[1:]]
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"] if "stages" not in hook]
    hooked = [" ".join(hook["entry"].split()[:2]) for hook in hooks]
    assert [re.sub(r" \.$", "", one) for one in linted] == hooked


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_makes_goals_that_there_are_and_ends_in_time(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 120
        steps = "\n".join(step.get("run", "") for step in job["steps"])
        goals = set(re.findall(r"\bmake ([a-z][\w-]+)", re.sub(r"install .*", "", steps)))
        goals |= {one["goal"] for one in job.get("strategy", {}).get("matrix", {}).get("include", ())}
        assert goals <= GOALS


def test_the_workflows_have_the_matrix_the_xen_run_the_packages_and_the_site() -> None:
    assert [path.stem for path in WORKFLOWS] == ["checks", "docs", "packages", "xen"]
    [matrix] = re.findall(r"include:\n((?: +- \{.*\n)+)", (ROOT / ".github/workflows/checks.yml").read_text())
    tried = yaml.safe_load(matrix)
    assert {one["goal"] for one in tried} == {"test-main", "test-salt3006", "test-salt3007"}
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    promised = {one.rpartition(" ")[2] for one in classifiers if re.search(r":: 3\.\d+$", one)}
    assert {one["python"] for one in tried} <= promised


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem)
def test_a_form_of_an_issue_asks_for_something(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    if path.stem != "config":
        assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_the_goals_that_contributors_are_told_are_there() -> None:
    told = set(
        re.findall(r"\bmake ([a-z][\w-]*)", "".join(re.findall(r"`[^`\n]+`", (ROOT / "CONTRIBUTING.md").read_text())))
    )
    assert {"check", "docs", "release"} <= told <= GOALS


def test_a_fragment_of_the_changelog_is_named_after_its_kind() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
    kinds = {kind["directory"] for kind in settings["type"]}
    names = {path.name for path in (ROOT / settings["directory"]).iterdir()} - {*settings["ignore"]}
    assert [name for name in sorted(names) if not re.fullmatch(rf"(\d+|\+[\w-]+)\.({'|'.join(kinds)})\.md", name)] == []
    assert settings["start_string"].strip() in (ROOT / settings["filename"]).read_text()
