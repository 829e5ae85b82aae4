"""What every file of the tree keeps to, so that one page of documentation and one reader's habit fit all of them."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 500
PYTHON_ROOTS = ("_utils", "_modules", "_states", "_grains", "_beacons", "_pillar", "_runners", "_ext", "lab", "tests")

PYTHON_FILES = sorted(path for root in PYTHON_ROOTS for path in (ROOT / root).rglob("*.py"))
EXECUTION_MODULES = sorted((ROOT / "_modules").glob("[!_]*.py"))
STATE_MODULES = sorted((ROOT / "_states").glob("[!_]*.py"))

# Each is put together from parts, so that this file does not hold what it looks for.
FOREIGN_WORDS = re.compile(
    "|".join(
        [
            "/wor" + "k/(main|shared)",
            "/tmp/" + "(dev|brief)",
            "/opt/" + "(wheels|pypi)",
            "/root/" + r"\.pyenv",
            r"\bbrief" + r"\.md\b",
            "shared/" + "spec",
        ]
    )
)

# Names of hosts that are nobody's example: neither below a domain that RFC 2606 reserves, nor in a link.
HOST_NAMES = re.compile(r"(?<![\w.:/@-])(?:[A-Za-z0-9-]+\.)+(?:org|com|net)(?![\w.(\[-])")
EXAMPLES = re.compile(r"(?:^|\.)example\.(?:org|com|net)$", re.IGNORECASE)
# The name that ntpdate is given where a VM has no server of its own, and an attribute of Python.
HOSTS_OF_THE_PRODUCT = {"pool.ntp.org", "self.net"}


def shown(path):
    return str(path.relative_to(ROOT))


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def public_functions(path):
    return [node for node in tree_of(path).body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


@pytest.mark.parametrize("path", PYTHON_FILES, ids=shown)
def test_every_file_says_first_what_it_does(path):
    assert ast.get_docstring(tree_of(path)), f"{shown(path)} does not start with a docstring"


@pytest.mark.parametrize("path", PYTHON_FILES, ids=shown)
def test_no_file_is_longer_than_one_can_hold_in_mind(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{shown(path)} has {lines} lines, at most {MOST_LINES} are wanted"


@pytest.mark.parametrize("path", EXECUTION_MODULES, ids=shown)
def test_every_execution_function_shows_how_to_call_it(path):
    without = [node.name for node in public_functions(path) if "CLI Example:" not in (ast.get_docstring(node) or "")]
    assert not without, f"{shown(path)}: no CLI Example in {', '.join(without)}"


@pytest.mark.parametrize("path", STATE_MODULES, ids=shown)
def test_every_state_shows_how_to_write_it(path):
    without = [
        node.name
        for node in public_functions(path)
        if node.name != "mod_watch" and ".. code-block:: yaml" not in (ast.get_docstring(node) or "")
    ]
    assert not without, f"{shown(path)}: no YAML example in {', '.join(without)}"


# Without one, Salt searches every module for it whenever a watch is used, and that costs a second.
@pytest.mark.parametrize("path", STATE_MODULES, ids=shown)
def test_every_state_module_answers_a_watch(path):
    assert "mod_watch" in {node.name for node in public_functions(path)}, f"{shown(path)} has no mod_watch"


def test_no_tracked_file_speaks_of_one_machine():
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, timeout=30)
    names = tracked.stdout.decode().split("\0")[:-1]
    # An unpacked archive is no checkout: then every file that the tree holds is looked at.
    paths = [ROOT / name for name in names] or [*PYTHON_FILES, *ROOT.glob("*.*")]
    found = [
        f"{shown(path)}:{number}: {line.strip()}"
        for path in paths
        if path.is_file()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if FOREIGN_WORDS.search(line)
    ]
    assert not found


def test_hosts_in_documentation_and_tests_are_examples():
    folders = ("docs", "pillar", "formulas", "tests", "_modules", "_states", "_pillar", "_beacons")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    paths = [
        path for path in (*paths, ROOT / "README.md") if path.suffix in (".md", ".py", ".sls", ".yaml", ".example")
    ]
    assert len(paths) > 100
    found = [
        f"{shown(path)}:{number}: {name}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        for name in HOST_NAMES.findall(line)
        if not EXAMPLES.search(name) and name not in HOSTS_OF_THE_PRODUCT
    ]
    assert not found


def test_a_real_hosts_name_is_found():
    name = ".".join(("deb", "debian", "org"))
    assert HOST_NAMES.findall(f"dsthost={name} proto=tcp") == [name]
    assert not EXAMPLES.search(name)
    assert HOST_NAMES.findall("see https://www.apache.org/licenses/") == []
    assert not EXAMPLES.search(".".join(("notexample", "org")))
