"""The keymaps that the library writes, before the program that has to read them: xkbcomp."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vminterface.values.keyboard import KeyboardLayout, Keymap

RULES = Path("/usr/share/X11/xkb/rules/evdev.lst")


def program(name: str, package: str) -> str:
    path = shutil.which(name)
    if path is None:
        reason = f"{name} is not installed (Debian: {package})"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture
def xkbcomp() -> str:
    return program("xkbcomp", "x11-xkb-utils and xkb-data")


@pytest.fixture
def display() -> Iterator[str]:
    """An X server without a screen, for setxkbmap asks one even where it only prints."""
    reading, writing = os.pipe()
    command = [program("Xvfb", "xvfb"), "-displayfd", str(writing), "-noreset", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], 20)
        assert ready, "Xvfb did not say its display's number within 20 s"
        yield ":" + os.read(reading, 16).decode().strip()
    finally:
        os.close(reading)
        server.terminate()
        server.wait(timeout=10)


def all_layouts() -> list[tuple[str, str]]:
    """Every layout and variant that the rules list, as setxkbmap's arguments."""
    sections = RULES.read_text().split("\n! ")
    lines = {section.split("\n")[0].strip(): section.split("\n")[1:] for section in sections}
    layouts = [(line.split()[0], "") for line in lines["layout"] if line.strip()]
    return layouts + [(line.split()[1].rstrip(":"), line.split()[0]) for line in lines["variant"] if line.strip()]


def faults(xkbcomp: str, text: str, folder: Path) -> str:
    """What xkbcomp could not compile; its exit status is 0 even where it left out a whole part of the keymap."""
    command = [xkbcomp, "-w", "0", "-xkm", "-", str(folder / "out.xkm")]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    # Other complaints, some of them called errors, are about keys in the layouts' own files.
    return done.stderr if "Abandoning" in done.stderr else ""


@pytest.mark.parametrize(
    "text",
    [
        "us",
        "fr+oss",
        "de+nodeadkeys",
        "de+neo",
        "pl+dvorak",
        "jp",
        "br",
        "be",
        "cz+qwerty",
        "gb",
        "ru,us",
        "us,de+,nodeadkeys",
        "us,de,fr,ru+,neo,oss,",
        "us++ctrl:nocaps",
    ],
)
def test_xkbcomp_compiles_the_keymap_of_a_layout(xkbcomp: str, tmp_path: Path, text: str) -> None:
    assert faults(xkbcomp, KeyboardLayout.parse(text).keymap().render(), tmp_path) == ""
    assert (tmp_path / "out.xkm").stat().st_size > 1000


def test_xkbcomp_compiles_what_was_escaped_for_a_store_and_read_back(xkbcomp: str, tmp_path: Path) -> None:
    escaped = KeyboardLayout.parse("fr").keymap().render().replace("\n", "\\n").replace("\t", "\\x09")
    assert faults(xkbcomp, Keymap.from_escaped(escaped).render(), tmp_path) == ""


def test_a_layout_that_does_not_exist_is_refused_by_xkbcomp_alone(xkbcomp: str, tmp_path: Path) -> None:
    keymap = KeyboardLayout.parse("nosuchlayout").keymap()
    assert Keymap.parse(keymap.render()) == keymap
    assert "nosuchlayout" in faults(xkbcomp, keymap.render(), tmp_path)


def test_keymaps_are_those_that_setxkbmap_prints_for_every_layout_and_variant(display: str) -> None:
    setxkbmap = program("setxkbmap", "x11-xkb-utils")
    several = [("us,de", ",neo"), ("de,us", "neo,"), ("jp,us", ""), ("us,jp", ""), ("us,de,fr,ru", ",,oss,")]
    different = []
    for layout, variant in all_layouts() + several:
        command = [setxkbmap, "-display", display, "-rules", "evdev", "-model", "pc105"]
        command += ["-layout", layout, "-variant", variant, "-option", "", "-print"]
        printed = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
        if KeyboardLayout.parse(f"{layout}+{variant}+").keymap().render() != printed:
            different.append((layout, variant))
    assert different == []
