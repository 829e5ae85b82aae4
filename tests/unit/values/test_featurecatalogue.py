"""The features that Qubes has: what each may be, what a misspelt name was meant for, which belong elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from vminterface.errors import InvalidValue
from vminterface.values import feature, featurekind
from vminterface.values.effect import Effect
from vminterface.values.featurecatalogue import (
    KNOWN,
    NOT_SETTABLE,
    as_data,
    entry_of,
    find,
    kind_of,
    misspelt,
    schemas,
    why_not,
)

PAGE = Path(__file__).resolve().parents[3] / "docs" / "features.md"
#: The options of the GUI daemon, from its own list.
GUI = {
    "allow-fullscreen", "override-redirect-protection", "override-redirect", "allow-utf8-titles",
    "secure-copy-sequence", "secure-paste-sequence", "windows-count-limit", "trayicon-mode", "window-background-color",
    "startup-timeout", "max-clipboard-size", "events-max-delay",
}  # fmt: skip


@pytest.mark.parametrize("start", ["gui-", "gui-default-"])
def test_every_option_of_the_gui_daemon_is_known_of_a_vm_and_of_a_guivm(start: str) -> None:
    for name in GUI:
        known = find(f"{start}{name}")
        assert known is not None
        assert known.effect is Effect.START


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("gui-allow-fullscreen", True, "1"),
        ("gui-default-allow-fullscreen", "off", ""),
        ("gui-secure-copy-sequence", "Ctrl-Shift-c", "Ctrl-Shift-c"),
        ("gui-secure-copy-sequence", "Mod4-F12", "Mod4-F12"),
        ("gui-secure-copy-sequence", "ALT-shift-MOD1-X_y9", "ALT-shift-MOD1-X_y9"),
        ("gui-secure-copy-sequence", "None", "None"),
        ("gui-secure-copy-sequence", "k" * 40, "k" * 40),
        ("gui-default-secure-paste-sequence", "disable", "disable"),
        ("gui-trayicon-mode", "tint+saturation50", "tint+saturation50"),
        ("gui-window-background-color", "0x202020", "0x202020"),
        ("gui-window-background-color", "light gray", "light gray"),
        ("gui-window-background-color", "0XAbC", "0XAbC"),
        ("gui-window-background-color", "Gray50", "Gray50"),
        ("gui-windows-count-limit", 1, "1"),
        ("gui-startup-timeout", 0, "0"),
        ("gui-max-clipboard-size", 256000, "256000"),
        ("gui-max-clipboard-size", "256", "256"),
        ("gui-events-max-delay", 0, "0"),
        ("gui-events-max-delay", 5000, "5000"),
        ("gui-override-redirect", "allow", "allow"),
        ("gui-videoram-min", 23040, "23040"),
        ("no-monitor-layout", True, "1"),
        ("boot-mode.active", "kiosk", "kiosk"),
        ("boot-mode.active", "A.b-C_1", "A.b-C_1"),
        ("boot-mode.appvm-default", "Kiosk", "Kiosk"),
        ("boot-mode.standalone-default", "x" * 64, "x" * 64),
        ("boot-mode.default-user.kiosk", "User_1+a,b.c-d", "User_1+a,b.c-d"),
        ("boot-mode.kernelopts.kiosk", "a=1 b", "a=1 b"),
        ("boot-mode.name.kiosk", "Kiosk mode", "Kiosk mode"),
        ("preload-dispvm-max", 2, "2"),
        ("preload-dispvm-max", 0, "0"),
        ("preload-dispvm-delay", -5, "-5"),
        ("preload-dispvm-delay", 2.5, "2.5"),
        ("custom-persist.docs", "/home/user/docs", "/home/user/docs"),
        ("menu-items", ["org.example.Viewer.desktop", "xterm.desktop"], "org.example.Viewer.desktop xterm.desktop"),
        ("default-menu-items", "A.desktop", "A.desktop"),
        ("netvm-menu-items", [], ""),
        ("menu-favorites", ["@disp:Firefox", "xterm"], "@disp:Firefox xterm"),
        ("tag-created-vm-with", ["Work-1", "a_b"], "Work-1 a_b"),
        ("set-created-guivm", "Sys-gui_1.x", "Sys-gui_1.x"),
        ("audio-model", "ich6", "ich6"),
        ("video-model", "cirrus", "cirrus"),
        ("video-model", "qxl-2", "qxl-2"),
        ("guivm-windows-prefix", "[Gui] ", "[Gui] "),
        ("custom-persist.log", "file:root:adm:0640:/var/log", "file:root:adm:0640:/var/log"),
        ("custom-persist.log", "dir:root:adm:755:/var/log", "dir:root:adm:755:/var/log"),
        ("timezone", "localtime", "localtime"),
        ("timezone", 999999, "999999"),
        ("check-updates", False, ""),
        ("anon-timezone", True, "1"),
        ("net.fake-ip", "10.0.0.7", "10.0.0.7"),
        ("net.fake-netmask", 24, "255.255.255.0"),
        ("prohibit-start", "under inspection", "under inspection"),
        ("prohibit-start", True, "1"),
        ("timezone", -3600, "-3600"),
        ("x-mine", "any text", "any text"),
        ("my-own", True, "1"),
    ],
)  # fmt: skip
def test_a_right_value_becomes_its_text_and_may_be_sent(name: str, value: Any, text: str) -> None:
    assert featurekind.render(kind_of(name).from_pillar(value)) == text
    feature.check(name, text)
    assert Draft202012Validator(kind_of(name).schema).is_valid(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gui-allow-fullscreen", "full"),
        ("gui-secure-copy-sequence", "Strg-c"),
        ("gui-secure-copy-sequence", "Ctrl-"),
        ("gui-secure-copy-sequence", "Mod5-c"),
        ("gui-secure-copy-sequence", "k" * 41),
        ("gui-trayicon-mode", "tint+border1+whitehack"),
        ("gui-trayicon-mode", "on"),
        ("gui-window-background-color", "0x12345"),
        ("gui-window-background-color", "#202020"),
        ("gui-max-clipboard-size", 255),
        ("gui-max-clipboard-size", 256001),
        ("gui-events-max-delay", 5001),
        ("boot-mode.active", "a b"),
        ("boot-mode.appvm-default", "x" * 65),
        ("boot-mode.standalone-default", ""),
        ("boot-mode.default-user.kiosk", "a b"),
        ("default-menu-items", "a/b.desktop"),
        ("netvm-menu-items", "firefox"),
        ("menu-favorites", "a  b"),
        ("tag-created-vm-with", ["a.b"]),
        ("set-created-guivm", "1vm"),
        ("set-created-guivm", "v" * 32),
        ("video-model", "VGA"),
        ("gui-windows-count-limit", 0),
        ("gui-startup-timeout", ""),
        ("gui-override-redirect", "disable"),
        ("gui-override-redirect", "disabled"),
        ("gui-videoram-min", "16MiB"),
        ("preload-dispvm-max", "two"),
        ("preload-dispvm-delay", "soon"),
        ("menu-items", ["firefox"]),
        ("menu-items", "a.desktop  b.desktop"),
        ("net.fake-ip", "nope"),
        ("net.fake-ip", True),
        ("net.fake-netmask", "255.0.255.0"),
        ("audio-model", "sb32"),
        ("timezone", "Europe/Warsaw"),
    ],
)
def test_a_value_that_its_reader_stumbles_over_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidValue):
        kind_of(name).from_pillar(value)


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("gui", "gui"),
        ("boot-mode.name.kiosk", "boot-mode.name.*"),
        ("gui-default-allow-fullscreen", "gui-default-*"),
        ("boot-mode.name.", ""),
        ("boot-mode.name.*", "boot-mode.name.*"),
        ("x", ""),
        ("", ""),
    ],
)
def test_a_member_of_a_family_has_the_familys_entry(name: str, entry: str) -> None:
    assert entry_of(name) == entry


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("gui-allow-fullscren", "gui-allow-fullscreen"),
        ("gui_allow_fullscreen", "gui-allow-fullscreen"),
        ("gui-tray-icon-mode", "gui-trayicon-mode"),
        ("gui-default-allow-utf8-title", "gui-default-allow-utf8-titles"),
        ("net.fake_ip", "net.fake-ip"),
        ("no-monitors-layout", "no-monitor-layout"),
        ("menu-item", "menu-items"),
        ("custom-perist.docs", "custom-persist.docs"),
        ("custom-perist.my.docs", "custom-persist.my.docs"),
        ("custom-perist.", ""),
        ("gui_emulated", "gui-emulated"),
        ("x-gui-allow-fullscreen", ""),
        ("my-own", ""),
        ("web", ""),
        *((name, "") for name in KNOWN if not name.endswith("*")),
    ],
)
def test_a_name_that_is_near_a_known_one_was_probably_meant_for_it(name: str, near: str) -> None:
    assert misspelt(name) == near


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("service.cups", "services"),
        ("service.meminfo-writer", "maxmem"),
        ("vm-config.mode", "vm_config"),
        ("app-dispvm.org.example.Viewer", "services"),
        ("preload-dispvm", "nobody"),
        ("preload-dispvm-completed", "nobody"),
        ("deferred-netvm-original", "nobody"),
        ("preload-dispvm-in-progress", "nobody"),
        ("preload-dispvm-threshold", "dom0"),
        ("suspend-s0ix", "dom0"),
    ],
)
def test_a_feature_that_belongs_elsewhere_says_where(name: str, word: str) -> None:
    assert word in why_not(name)
    assert re.match(NOT_SETTABLE, name)


@pytest.mark.parametrize("name", [name for name in KNOWN if not name.endswith("*")])
def test_every_other_known_feature_may_be_set_by_its_name(name: str) -> None:
    assert why_not(name) == ""
    assert not re.match(NOT_SETTABLE, name)


def test_the_family_with_the_longest_name_counts() -> None:
    known = find("boot-mode.name.x")
    assert known is not None
    assert known.does == KNOWN["boot-mode.name.*"].does
    assert find("custom-persist.") is None


def test_the_table_is_plain_data_with_something_to_say_of_each() -> None:
    data = as_data()
    assert json.loads(json.dumps(data)) == data
    assert set(data) == set(KNOWN)
    assert all(all(one.values()) for one in data.values())


def test_the_page_has_the_table_as_it_is() -> None:
    rows = [
        f"| `{name}` | {one['does']} | {one['value']} | {one['takes_effect']} | {one['set_by']} |"
        for name, one in as_data().items()
    ]
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    assert lines[lines.index("| feature | what it does | value | takes effect | set by |") + 2 :] == rows


def test_a_feature_that_begins_as_one_that_cannot_be_set_is_another_one() -> None:
    for name in ("preload-dispvm-max", "servicevm", "vm-config", "app-dispvmx"):
        assert why_not(name) == ""
        assert not re.match(NOT_SETTABLE, name)


def test_every_name_has_a_schema_with_what_it_does_and_when_that_takes_effect() -> None:
    names, _ = schemas()
    assert set(names) == {
        *(name for name in KNOWN if not name.endswith("*")), *(f"gui-default-{name}" for name in GUI)
    }  # fmt: skip
    for name, (does, form) in names.items():
        known = find(name)
        assert known is not None
        assert does == f"{known.does}; takes effect: {known.effect.value}"
        assert form == known.kind.schema
    assert names["menu-items"][0] == "are the VM's applications in the menu; takes effect: now"


def test_every_family_has_a_schema_for_the_names_of_its_members() -> None:
    _, families = schemas()
    members = ["boot-mode.name.kiosk", "custom-persist.docs", "supported-rpc.qubes.GetDate", "template-name", "x-mine"]
    for name in members:
        (form,) = [form for pattern, (_, form) in families.items() if re.match(pattern, name)]
        assert form == kind_of(name).schema
    assert len(families) == len([name for name in KNOWN if name.endswith("*")]) - 1
    others = ["gui-default-x", "boot-mode.name.", "custom-persist", "custom-persistXdocs", "x-", "a-x-y", "gui"]
    assert [name for name in others if any(re.match(pattern, name) for pattern in families)] == []


@pytest.mark.parametrize("start", ["supported-feature", "supported-rpc", "supported-service"])
def test_what_a_vm_says_that_it_has_is_set_by_its_programs(start: str) -> None:
    known = find(f"{start}.any")
    assert known is not None
    assert (known.kind, known.effect, known.setter.value) == (featurekind.FLAG, Effect.NOW, "VM")
