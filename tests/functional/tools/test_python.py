"""``PYTHON=`` is the Python that makes the environments, or the reason why there are none; who made one is remembered.

The Python is a real one except for what takes minutes: it makes an environment that is an empty folder, with a Python
that installs whatever it is asked to.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.paths import PROJECT

_STUB = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then
    mkdir -p "$3/bin" && printf '#!/bin/sh\\n' >"$3/bin/python" && chmod +x "$3/bin/python"
    exit
fi
exec {real} "$@"
"""
_STAMP = ".venv/lint/.stamp"


class Checkout:
    """What of a checkout makes environments, below *folder*."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("tools", "requirements"):
            shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(PROJECT / "Makefile", folder)
        self.python = self.program("python", _STUB.format(real=sys.executable))
        self.stamp = folder / _STAMP

    def program(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    def make(self, python: str = "") -> subprocess.CompletedProcess[str]:
        """Have the smallest of the environments made, with ``PYTHON=`` where *python* is given."""
        env = {key: value for key, value in os.environ.items() if key not in ("PYTHON", "MAKEFLAGS")}
        words = ["make", "--no-print-directory", _STAMP, *([f"PYTHON={python}"] if python else [])]
        return subprocess.run(words, cwd=self.folder, env=env, capture_output=True, text=True, timeout=60)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path)
    done = made.make(made.python)
    assert done.returncode == 0, done.stderr
    assert "environment: making .venv/lint" in done.stdout
    return made


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "{python}: there is no such program"),
        ("#!/bin/sh\necho oh >&2; echo not configured >&2; exit 127\n", "{python} does not work: not configured"),
        ("#!/bin/sh\nexit 7\n", "{python} does not work: it ends with status 7 and says nothing"),
        # It does whatever it is asked, and is no Python.
        ("#!/bin/sh\n", "{python} is not a Python"),
        # As an old Python does: what it is asked, it answers for itself.
        (
            "#!/bin/sh\ncase $2 in *print*) echo 3.9.2;; *) exit 1;; esac\n",
            "{python} is Python 3.9.2 (expected 3.11 or later)",
        ),
    ],
)
def test_a_python_that_does_not_work_is_an_error_that_names_it_and_why(
    checkout: Checkout, exists: bool, text: str | None, reason: str
) -> None:
    if not exists:
        shutil.rmtree(checkout.folder / ".venv")
    python = str(checkout.folder / "none") if text is None else checkout.program("bad", text)
    done = checkout.make(python)
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.splitlines()[0] == "find-python: PYTHON=" + reason.format(python=python)
    assert checkout.stamp.exists() is exists


def test_an_environment_remembers_which_python_made_it(checkout: Checkout) -> None:
    version = ".".join(map(str, sys.version_info[:3]))
    assert checkout.stamp.read_text() == f"{os.path.realpath(sys.executable)} {version}\n"


@pytest.mark.parametrize("named", [True, False])
def test_an_environment_is_kept_where_the_same_python_is_named_or_none(checkout: Checkout, named: bool) -> None:
    (checkout.folder / ".venv/lint/kept").touch()
    done = checkout.make(checkout.python if named else "")
    assert (done.returncode, done.stderr) == (0, "")
    assert "making" not in done.stdout
    assert (checkout.folder / ".venv/lint/kept").exists()


@pytest.mark.parametrize("maker", ["/opt/python3.11/bin/python3.11 3.11.9", ""])
def test_an_environment_of_another_python_is_made_anew_and_that_is_said(checkout: Checkout, maker: str) -> None:
    version = ".".join(map(str, sys.version_info[:3]))
    checkout.stamp.write_text(maker)
    done = checkout.make(checkout.python)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"environment: .venv/lint is of {maker or 'another Python'}; "
        f"PYTHON is {os.path.realpath(sys.executable)} {version}",
        "environment: making .venv/lint from requirements/lint.txt",
    ]
    assert checkout.stamp.read_text().startswith(os.path.realpath(sys.executable))


def test_an_environment_is_made_anew_where_what_it_should_hold_is_newer(checkout: Checkout) -> None:
    later = checkout.stamp.stat().st_mtime + 10
    os.utime(checkout.folder / "requirements/lint.txt", (later, later))
    assert "environment: making .venv/lint" in checkout.make(checkout.python).stdout


def test_a_version_that_is_preferred_goes_before_the_others_and_else_the_usual_one_is_taken(checkout: Checkout) -> None:
    """The preferred one is where pyenv keeps it, as its commands work only where somebody has chosen the version."""
    here = checkout.folder / "pyenv/versions/3.99.1/bin"
    here.mkdir(parents=True)
    preferred = Path(checkout.program("pyenv/versions/3.99.1/bin/python3", _STUB.format(real=sys.executable)))
    env = {key: value for key, value in os.environ.items() if key != "PYTHON"}

    def found(version: str, **more: str) -> str:
        words = [str(checkout.folder / "tools/find-python"), *([version] if version else [])]
        return subprocess.run(
            words, env={**env, **more}, capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()

    root = str(checkout.folder / "pyenv")
    assert found("3.99", PYENV_ROOT=root) == str(preferred)
    assert found("3.98", PYENV_ROOT=root) == found("")
    assert found("3.99", PYENV_ROOT=root, PYTHON=checkout.python) == checkout.python
