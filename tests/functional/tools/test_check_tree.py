"""What every file keeps to is checked as a linter does it: one line for each fault, and a status that says so."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab.paths import PROJECT

STATE = '''"""A state."""


def there(name):
    """
    .. code-block:: yaml
    """


def mod_watch(name):
    ""
'''


def check(root: Path, file: str, text: str) -> tuple[int, list[str]]:
    """Return what the check says of a tree that holds *text* in *file*."""
    path = root / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    done = subprocess.run([PROJECT / "tools/check-tree", root], capture_output=True, text=True, timeout=30)
    assert not done.stderr
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        ("_utils/vminterface/one.py", "VALUE = 1\n", "does not start with a docstring"),
        ("lab/long.py", '"""Long."""\n' + "VALUE = 1\n" * 500, "has 501 lines (expected at most 500)"),
        ("_modules/one.py", '"""One."""\n\n\ndef get():\n    """Get."""\n', "get shows no example (CLI Example:)"),
        ("_states/one.py", STATE.replace(".. code", "code"), "there shows no example (.. code-block:: yaml)"),
        ("_states/one.py", STATE.replace("mod_watch", "_watch"), "has no mod_watch"),
    ],
)
def test_a_fault_of_a_file_is_one_line_with_its_path(tmp_path: Path, file: str, text: str, fault: str) -> None:
    assert check(tmp_path, file, text) == (1, [f"{file}: {fault}"])


@pytest.mark.parametrize("file", ["docs/page.md", "tests/test_one.py", "formulas/vminterface/init.sls"])
def test_a_real_hosts_name_is_a_fault_with_its_line(tmp_path: Path, file: str) -> None:
    name = ".".join(("deb", "debian", "org"))
    assert check(tmp_path, file, f'"""One."""\n# dsthost={name} proto=tcp\n') == (
        1,
        [f"{file}:2: {name} is a real host's name (expected one below example.org)"],
    )


def test_examples_links_and_methods_are_no_hosts_names(tmp_path: Path) -> None:
    text = "mirror.example.org, https://www.apache.org/licenses/, self.net(1)\n"
    assert check(tmp_path, "docs/page.md", text) == (0, [])


def test_the_documentation_of_salt_functions_counts_no_lines(tmp_path: Path) -> None:
    text = '"""One."""\n\n\ndef get():\n    """\n    CLI Example:\n' + "    more\n" * 500 + '    """\n'
    assert check(tmp_path, "_modules/one.py", text) == (0, [])


def test_a_tree_without_faults_is_passed_over_in_silence(tmp_path: Path) -> None:
    assert check(tmp_path, "_states/one.py", STATE) == (0, [])
