"""The table of plain characters is made from the Unicode Character Database of one version and no other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.paths import PROJECT

FILES = {
    "Scripts": "00B0 ; Common # So\n00E9 ; Latin # L&\n0300 ; Inherited\n05D0 ; Hebrew\n4E00..4E02 ; Han\n",
    "extracted/DerivedGeneralCategory": "00B0 ; So\n00E9 ; Ll\n0300 ; Mn\n05D0 ; Lo\n4E00..4E02 ; Lo\n",
    "extracted/DerivedBidiClass": "00B0 ; ET\n00E9 ; L\n0300 ; NSM\n05D0 ; R\n4E00..4E02 ; L\n",
}


def make(folder: Path, version: str = "15.0.0") -> subprocess.CompletedProcess[str]:
    for name, text in FILES.items():
        file = folder / f"{name}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"# {file.stem}-{version}.txt\n# Date: 2022\n\n{text}")
    tool = [sys.executable, str(PROJECT / "tools/plain-characters"), str(folder)]
    return subprocess.run(tool, capture_output=True, text=True, timeout=60)


def test_the_table_holds_what_script_category_and_direction_allow(tmp_path: Path) -> None:
    made: dict[str, Any] = {}
    exec(make(tmp_path).stdout, made)  # what the tool has printed is a module
    plain = [code for code in range(0x5000) if made["is_plain_character"](code)]
    assert plain == [*range(0x20, 0x7F), 0xE9, 0x4E00, 0x4E01, 0x4E02]


@pytest.mark.parametrize("version", ["14.0.0", "15.1.0"])
def test_data_of_another_version_is_refused(tmp_path: Path, version: str) -> None:
    done = make(tmp_path, version)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"Scripts.txt is not of Unicode 15.0.0: # Scripts-{version}.txt" in done.stderr


def test_the_shipped_table_is_of_the_tools_making(tmp_path: Path) -> None:
    """All but the ranges, which are those of the whole database."""
    shipped = (PROJECT / "_utils/vminterface/wire/qfile_characters.py").read_text().split('"""')
    made = make(tmp_path).stdout.split('"""')
    assert [*made[:3], *made[4:]] == [*shipped[:3], *shipped[4:]]
