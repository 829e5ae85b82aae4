"""Keyboards: three names, and the keymap's text."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from vminterface.errors import InvalidValue
from vminterface.values.keyboard import KEYMAP_SCHEMA, LAYOUT_SCHEMA, KeyboardLayout, Keymap

US = (
    "xkb_keymap {\n"
    '\txkb_keycodes  { include "evdev+aliases(qwerty)"\t};\n'
    '\txkb_types     { include "complete"\t};\n'
    '\txkb_compat    { include "complete"\t};\n'
    '\txkb_symbols   { include "pc+us+inet(evdev)"\t};\n'
    '\txkb_geometry  { include "pc(pc105)"\t};\n'
    "};\n"
)


@pytest.mark.parametrize(
    "text",
    [
        "us++",
        "fr+oss+",
        "pl++compose:caps",
        "de+neo+ctrl:nocaps,compose:ralt",
        "us,de+,nodeadkeys+",
        "us,de,fr,ru++",
        "a++x",
    ],
)
def test_layouts_come_back_as_written(text: str) -> None:
    assert KeyboardLayout.parse(text).render() == text


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z]{1,6}", fullmatch=True), st.from_regex(r"([a-z0-9_][a-z0-9_-]{0,9})?", fullmatch=True)
        ),
        min_size=1,
        max_size=4,
    ),
    st.from_regex(r"([a-z]{1,5}:[a-z_]{1,9}(,[a-z]{1,5}:[a-z_]{1,9}){0,3})?", fullmatch=True),
)
def test_every_legal_layout_comes_back_as_written(groups: Any, options: Any) -> None:
    layouts, variants = ",".join(g[0] for g in groups), ",".join(g[1] for g in groups)
    text = f"{layouts}+{variants if any(g[1] for g in groups) else ''}+{options}"
    assert KeyboardLayout.parse(text).render() == text
    assert KeyboardLayout.parse(text).groups == tuple(groups)


@pytest.mark.parametrize(("short", "full"), [("fr", "fr++"), ("fr+oss", "fr+oss+"), ("us,de+,", "us,de++")])
def test_left_out_parts_are_empty_and_rendered_as_dom0_wants_them(short: str, full: str) -> None:
    assert KeyboardLayout.parse(short).render() == full
    assert KeyboardLayout.parse(short) == KeyboardLayout.parse(full)


@pytest.mark.parametrize("text", ["us+a+b+c", "us+++", "us" * 200])
def test_four_parts_and_endless_ones_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="layout\\+variant\\+options"):
        KeyboardLayout.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "++",
        "us2",
        "u s",
        "us\n",
        "-us",
        "us,",
        ",us",
        "us,,de",
        "a,b,c,d,e",
        "\u0443\u0441",
        "us;x",
        "us(x)",
        "us/x",
    ],
)
def test_layouts_that_are_not_letters_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="not a valid keyboard layout"):
        KeyboardLayout.parse(text)


@pytest.mark.parametrize(
    "text",
    ["fr+o s+", "fr+-oss", "fr+oss,", "us,de+nodeadkeys", "us,de+a,b,c", "fr+o:s", "fr+\u00f6", "fr+$(id)", "fr+oss\n"],
)
def test_variants_of_another_alphabet_or_count_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="not a valid variant of the keyboard layout"):
        KeyboardLayout.parse(text)


@pytest.mark.parametrize(
    "text", ["us++a b", "us++,", "us++a,,b", "us++a,", "us++-x", "us++a;b", "us++`id`", "us++a\n", "us++\u00e9"]
)
def test_options_of_another_alphabet_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="not a valid list of keyboard options"):
        KeyboardLayout.parse(text)


def test_the_keymap_of_a_layout_is_what_setxkbmap_prints() -> None:
    assert KeyboardLayout.parse("us").keymap().render() == US


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("de+nodeadkeys", '"evdev+aliases(qwertz)"'),
        ("fr", '"evdev+aliases(azerty)"'),
        ("us,fr", '"evdev+aliases(qwerty)"'),
        ("us,de+,nodeadkeys", '"pc+us+de(nodeadkeys):2+inet(evdev)"'),
        ("us,de,fr,ru", '"pc+us+de:2+fr:3+ru:4+inet(evdev)"'),
        ("jp", 'xkb_compat    { include "complete+japan"'),
        ("us,jp", 'xkb_compat    { include "complete"'),
        ("us,de+,neo", '"complete+caps(caps_lock):2+misc(assign_shift_left_action):2+level5(level5_lock):2"'),
    ],
)
def test_layouts_variants_and_groups_have_their_place_in_the_keymap(text: str, part: str) -> None:
    assert part in KeyboardLayout.parse(text).keymap().text


def test_options_have_no_place_in_the_keymap() -> None:
    assert KeyboardLayout.parse("us++ctrl:nocaps").keymap().text == US


@pytest.mark.parametrize(
    "text",
    [
        US,
        US.strip(),
        "xkb_keymap{}",
        'xkb_keymap "a } name" { };',
        "xkb_keymap { // a } brace\n };",
        'xkb_keymap { key <A> { [ "}" ] }; };',
        "xkb_keymap { };\n// the end",
        "xkb_keymap { };\n# the end\n\n",
    ],
)
def test_keymaps_come_back_as_written(text: str) -> None:
    assert Keymap.parse(text).render() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "xkb_keymap",
        "xkb_keymap {",
        "xkb_keymap }",
        "xkb_keymap { } }",
        "xkb_keymap { { };",
        " xkb_keymap { };",
        "keymap { };",
        "xkb_keymap_x { };",
        "xkb_keymap { }; rm -rf /",
        "xkb_keymap { }; xkb_keymap { };",
        'xkb_keymap { " };',
        "xkb_keymap { \r };",
        "xkb_keymap { \x1b };",
        "xkb_keymap { \u00e9 };",
        "xkb_keymap { \x00 };",
        "xkb_keymap { // };",
        "XKB_KEYMAP { };",
        "{ };",
    ],
)
def test_other_texts_are_no_keymap(text: str) -> None:
    with pytest.raises(InvalidValue, match="not a valid keymap"):
        Keymap.parse(text)


def test_a_keymap_may_be_as_long_as_a_value_in_qubesdb_and_no_longer() -> None:
    fits = "xkb_keymap { " + " " * (3071 - 15) + "};"
    assert len(fits) == 3071
    assert Keymap.parse(fits).text == fits
    with pytest.raises(InvalidValue, match="expected at most 3071"):
        Keymap.parse(fits + " ")


@pytest.mark.parametrize(
    "text",
    [
        "xkb_keymap {};" + "#" * 3000 + "\nx",
        "xkb_keymap {};" + "//" * 1500 + "\nx",
        "xkb_keymap" + " \t" * 1500,
        '{"' * 1500,
    ],
)
def test_a_hostile_keymap_costs_no_time(text: str) -> None:
    start = time.process_time()
    with pytest.raises(InvalidValue):
        Keymap.parse(text)
    assert time.process_time() - start < 1


def test_escapes_are_expanded() -> None:
    assert Keymap.from_escaped(US.replace("\n", "\\n").replace("\t", "\\t")).text == US
    assert Keymap.from_escaped(US.replace("\n", "\\x0a").replace("\t", "\\x09")).text == US
    assert Keymap.from_escaped('xkb_keymap { "\\\\n" };').text == 'xkb_keymap { "\\n" };'


@given(st.text(alphabet="\n\t\\ axn0", max_size=40))
def test_what_was_escaped_comes_back_as_it_was(inner: Any) -> None:
    keymap = Keymap.parse(f"xkb_keymap {{ {inner} }};")
    escaped = keymap.text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
    assert Keymap.from_escaped(escaped) == keymap


@pytest.mark.parametrize("escape", ["\\r", "\\", "\\x", "\\x0", "\\xg0", "\\0", "\\011", "\\u000a", "\\\\\\"])
def test_other_escapes_are_refused(escape: str) -> None:
    with pytest.raises(InvalidValue, match="not a valid escape in a keymap"):
        Keymap.from_escaped("xkb_keymap { };" + escape)


@pytest.mark.parametrize("escape", ["\\x00", "\\x1b", "\\xff"])
def test_what_an_escape_stands_for_must_be_legal_too(escape: str) -> None:
    with pytest.raises(InvalidValue, match="printable ASCII"):
        Keymap.from_escaped("xkb_keymap { };" + escape)


def test_an_endless_escaped_keymap_is_refused_unexpanded() -> None:
    with pytest.raises(InvalidValue, match="too long"):
        Keymap.from_escaped("\\n" * 10000)


def test_a_layout_has_up_to_255_characters() -> None:
    assert KeyboardLayout.parse("a" * 255).layout == "a" * 255
    with pytest.raises(InvalidValue, match="255 characters at most"):
        KeyboardLayout.parse("a" * 256)


def test_a_keymap_that_fits_may_be_escaped_from_end_to_end() -> None:
    text = "xkb_keymap { " + " " * (3071 - 15) + "};"
    escaped = "".join(f"\\x{ord(character):02X}" for character in text)
    assert Keymap.from_escaped(escaped).text == text
    with pytest.raises(InvalidValue, match="a keymap of 12285 escaped bytes"):
        Keymap.from_escaped(escaped + " ")


@pytest.mark.parametrize(
    ("parse", "form", "good", "bad"),
    [
        (KeyboardLayout.parse, LAYOUT_SCHEMA, ["us", "us+", "fr+oss", "a,b,c,d", "us,de+,x+a:b,c", "a" * 255],
         ["", "us2", "us,", "a,b,c,d,e", "us+-x", "us++,", "us+++", "a" * 256]),
        (Keymap.parse, KEYMAP_SCHEMA, [US, "xkb_keymap{}", 'xkb_keymap "a" { };'],
         ["", "xkb_keymap", " xkb_keymap {}", "xkb_keymap { \r }", "xkb_keymap {" + " " * 3071 + "}"]),
    ],
)  # fmt: skip
def test_the_schema_takes_what_the_parser_takes(parse: Any, form: Any, good: list[str], bad: list[str]) -> None:
    valid = Draft202012Validator(form).is_valid
    assert all(map(parse, good))
    assert all(map(valid, good))
    assert not any(map(valid, bad))
