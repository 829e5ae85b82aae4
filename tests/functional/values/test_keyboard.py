"""The keymaps that the library writes, before the program that has to read them: xkbcomp."""

import os
import shutil
import subprocess

import pytest

from vminterface.values.keyboard import KeyboardLayout, Keymap


@pytest.fixture
def xkbcomp():
    path = shutil.which("xkbcomp")
    if path is None:
        reason = "xkbcomp is not installed (Debian: x11-xkb-utils and xkb-data)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def faults(xkbcomp, text, folder):
    """What xkbcomp complains of; its exit status is 0 even where it left out a whole part of the keymap."""
    done = subprocess.run(
        [xkbcomp, "-w", "0", "-xkm", "-", str(folder / "out.xkm")], input=text, capture_output=True, text=True, timeout=30
    )
    return done.stderr or (f"exit status {done.returncode}" if done.returncode else "")


@pytest.mark.parametrize(
    "text",
    [
        "us", "fr+oss", "de+nodeadkeys", "de+neo", "pl+dvorak", "jp", "br", "be", "cz+qwerty", "gb", "ru,us", "us,de+,nodeadkeys",
        "us,de,fr,ru+,neo,oss,", "us++ctrl:nocaps",
    ],
)  # fmt: skip
def test_xkbcomp_compiles_the_keymap_of_a_layout(xkbcomp, tmp_path, text):
    assert faults(xkbcomp, KeyboardLayout.parse(text).keymap().render(), tmp_path) == ""
    assert (tmp_path / "out.xkm").stat().st_size > 1000


def test_xkbcomp_compiles_what_was_escaped_for_a_store_and_read_back(xkbcomp, tmp_path):
    escaped = KeyboardLayout.parse("fr").keymap().render().replace("\n", "\\n").replace("\t", "\\x09")
    assert faults(xkbcomp, Keymap.from_escaped(escaped).render(), tmp_path) == ""


def test_a_layout_that_does_not_exist_is_refused_by_xkbcomp_alone(xkbcomp, tmp_path):
    keymap = KeyboardLayout.parse("nosuchlayout").keymap()
    assert Keymap.parse(keymap.render()) == keymap
    assert "nosuchlayout" in faults(xkbcomp, keymap.render(), tmp_path)
