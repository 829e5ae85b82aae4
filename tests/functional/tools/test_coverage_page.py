"""The page of what is covered is what the tables say: no key or service without a release and a test."""

from __future__ import annotations

import subprocess
import sys

from lab.paths import PROJECT


def test_the_page_is_made_of_the_tables_as_they_are() -> None:
    done = subprocess.run([sys.executable, PROJECT / "tools/coverage-page"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    page = (PROJECT / "docs/coverage.md").read_text(encoding="utf-8")
    assert page == done.stdout, "run: make pages"
