"""Icons by their name: the nearest to 512 pixels, in the first theme that has any; hicolor before most others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.handlers import VM
from vminterface.errors import InvalidValue, KeyNotFound
from vminterface.vm.handlers.display.icontheme import find
from vminterface.vm.machine.machine import Machine

ICONS = "usr/share/icons"


def theme(vm: VM, name: str, inherits: str = "", **folders: str) -> None:
    """Make a theme whose folders are ``s48`` and so on, each with the lines that describe it."""
    lines = [f"[Icon Theme]\nName={name}\nInherits={inherits}\nDirectories={','.join(folders)}\n# a comment\n"]
    lines += [f"[{folder}]\n{text}\n" for folder, text in folders.items()]
    vm.write(f"{ICONS}/{name}/index.theme", "\n".join(lines))


def icon(vm: VM, path: str) -> str:
    vm.write(f"{ICONS}/{path}", "picture")
    return f"/{ICONS}/{path}"


@pytest.fixture
def vm(tmp_path: Path) -> VM:
    return VM(tmp_path)


def found(vm: VM, name: str = "app", **environment: str) -> str:
    return find(Machine(str(vm.root)), name, {"HOME": "/home/user", **environment})


def test_the_nearest_size_is_taken(vm: VM) -> None:
    theme(vm, "hicolor", a="Size=48", b="Size=256", c="Size=1024", d="Size=16")
    for folder in "acd":
        icon(vm, f"hicolor/{folder}/app.png")
    desired = icon(vm, "hicolor/b/app.png")
    assert found(vm) == desired


def test_what_scales_to_the_size_is_nearest(vm: VM) -> None:
    theme(vm, "hicolor", a="Size=500\nType=Fixed", b="Size=64\nMinSize=8\nMaxSize=512\nType=Scalable")
    icon(vm, "hicolor/a/app.png")
    desired = icon(vm, "hicolor/b/app.svg")
    assert found(vm) == desired


def test_a_scale_multiplies_the_size(vm: VM) -> None:
    theme(vm, "hicolor", a="Size=300", b="Size=256\nScale=2\nType=Fixed")
    icon(vm, "hicolor/a/app.png")
    desired = icon(vm, "hicolor/b/app.png")
    assert found(vm) == desired


def test_some_themes_come_before_all_others(vm: VM) -> None:
    for name in ("AAA", "Adwaita", "hicolor"):
        theme(vm, name, a="Size=48")
    theme(vm, "Humanity", "Adwaita,hicolor", a="Size=48")
    icon(vm, "AAA/a/app.png")
    icon(vm, "hicolor/a/app.png")
    adwaita = icon(vm, "Adwaita/a/app.png")
    assert found(vm) == adwaita
    assert found(vm) != icon(vm, "Humanity/a/app.png")
    assert found(vm) == f"/{ICONS}/Humanity/a/app.png"


@pytest.mark.parametrize("desired", ["hicolor/a/app.png", "app.png", "../pixmaps/app.png"])
def test_what_programs_bring_comes_before_other_themes(vm: VM, desired: str) -> None:
    theme(vm, "AAA", a="Size=512")
    theme(vm, "Adwaita", a="Size=48")
    theme(vm, "gnome", a="Size=48")
    theme(vm, "hicolor", a="Size=48")
    icon(vm, "AAA/a/app.png")
    # The first of the preferred themes counts; another one is behind what programs bring.
    icon(vm, "gnome/a/app.png")
    vm.write(f"{ICONS}/{desired}", "picture")
    assert Path(found(vm)).resolve() == Path(f"/{ICONS}/{desired}").resolve()


def test_without_any_of_the_preferred_themes_hicolor_is_first(vm: VM) -> None:
    theme(vm, "AAA", a="Size=512")
    theme(vm, "hicolor", a="Size=48")
    icon(vm, "AAA/a/app.png")
    assert found(vm) == f"/{ICONS}/AAA/a/app.png"
    (vm.root / ICONS / "Humanity").mkdir()  # without a file of its own it is no theme
    assert found(vm) == f"/{ICONS}/AAA/a/app.png"
    desired = icon(vm, "hicolor/a/app.png")
    assert found(vm) == desired


def test_what_a_theme_inherits_comes_behind_it(vm: VM) -> None:
    theme(vm, "Adwaita", "BBB, ZZZ,gone,../..,Adwaita", a="Size=48")
    for name in ("AAA", "ZZZ", "CCC", "hicolor"):
        theme(vm, name, "Adwaita", a="Size=48")
    theme(vm, "BBB", "CCC", a="Size=48")
    for name in ("AAA", "hicolor", "ZZZ", "CCC", "BBB", "Adwaita"):
        desired = icon(vm, f"{name}/a/app.png")
        if name != "AAA":
            assert found(vm) == desired


@pytest.mark.parametrize("suffix", [".png", ".svg", ".xpm"])
@pytest.mark.parametrize("there", [".png", ".svg"])
def test_a_name_may_end_as_a_pictures_file(vm: VM, suffix: str, there: str) -> None:
    theme(vm, "hicolor", a="Size=48")
    desired = icon(vm, f"hicolor/a/app{there}")
    assert found(vm, f"app{suffix}") == desired
    with pytest.raises(KeyNotFound):
        found(vm, "app.gif")


def test_the_users_own_icons_come_first(vm: VM) -> None:
    theme(vm, "hicolor", a="Size=48")
    icon(vm, "hicolor/a/app.png")
    vm.write("home/user/.icons/hicolor/a/app.png", "own")
    assert found(vm) == "/home/user/.icons/hicolor/a/app.png"


def test_icons_of_no_theme_come_last(vm: VM) -> None:
    vm.write("usr/share/pixmaps/app.xpm", "picture")
    assert found(vm) == "/usr/share/pixmaps/app.xpm"
    desired = icon(vm, "app.png")
    assert found(vm) == desired


def test_an_icon_that_no_theme_has_is_named(vm: VM) -> None:
    theme(vm, "hicolor", a="Size=48")
    with pytest.raises(KeyNotFound, match="no theme has an icon app"):
        found(vm)


def test_a_theme_cannot_lead_elsewhere_or_make_the_search_fail(vm: VM) -> None:
    theme(vm, "hicolor", **{"../../../etc": "Size=512", "a": "Size=x\nScale=99999999\nType=Odd"})
    vm.write("etc/app.png")
    desired = icon(vm, "hicolor/a/app.png")
    assert found(vm) == desired


@pytest.mark.parametrize("name", ["", "../x", "a/b", "/etc/passwd", ".x", "-x", "a\0", "ż", "a" * 256, "a\n"])
def test_other_names_are_refused(vm: VM, name: str) -> None:
    with pytest.raises(InvalidValue, match="not a valid icon name"):
        found(vm, name)
