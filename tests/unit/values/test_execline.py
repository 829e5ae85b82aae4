"""The command line of a desktop entry: its words as GLib sees them, and its field codes."""

from __future__ import annotations

import pytest

from vminterface.errors import InvalidValue
from vminterface.values import execline

GIVEN = {"name": "My App", "icon": "app", "path": "/usr/share/applications/app.desktop"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("firefox", ["firefox"]),
        ("  a\tb \n c ", ["a", "b", "c"]),
        ('"/opt/an app/run" x', ["/opt/an app/run", "x"]),
        (r'sh -c "echo \"\$HOME\" \`id\` \\ \n"', ["sh", "-c", r'echo "$HOME" `id` \ \n']),
        ("env A='b \"c\" \\' d", ["env", 'A=b "c" \\', "d"]),
        (r"a\ b c\\", ["a b", "c\\"]),
        ('a "" b', ["a", "", "b"]),
        ('a"b c"d', ["ab cd"]),
        ("żółw \N{NO-BREAK SPACE}x", ["żółw", "\N{NO-BREAK SPACE}x"]),
        ("a\\", ["a\\"]),
        ('"a b" X "c"', ["a b", "X", "c"]),
    ],
)
def test_a_line_has_the_words_that_a_shell_would_see(line: str, words: list[str]) -> None:
    assert execline.split(line) == words


@pytest.mark.parametrize("line", ["", " \t\n", 'a "b', "a 'b", 'a "b\\"', 'a "b\\', "a\0b", '"'])
def test_a_line_without_words_or_with_an_open_quote_is_refused(line: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        execline.split(line)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("value", "text"),
    [("plain", "plain"), (r"a\sb\nc\td\re\\f", "a b\nc\td\re\\f"), (r"\;\x", r"\;\x"), ("a\\", "a\\")],
)
def test_a_string_loses_its_escapes(value: str, text: str) -> None:
    assert execline.unescape(value) == text


@pytest.mark.parametrize(
    ("words", "argv"),
    [
        (["firefox", "%u"], ["firefox"]),
        (["a", "%F", "%d", "%n", "%v", "%m", "b"], ["a", "b"]),
        (["a", "--file=%f", "-x%U"], ["a", "--file=", "-x"]),
        (["a", "%i", "%c", "%k"], ["a", "--icon", "app", "My App", "/usr/share/applications/app.desktop"]),
        (["date", "+%%H%%M", "100%", "%%c"], ["date", "+%H%M", "100%", "%c"]),
        # As GLib does, what nobody knows stands for nothing.
        (["a", "b%zc", ""], ["a", "bc", ""]),
    ],
)
def test_field_codes_are_filled_in_without_files(words: list[str], argv: list[str]) -> None:
    assert execline.fill(words, **GIVEN) == argv


def test_without_an_icon_its_option_goes_too() -> None:
    assert execline.fill(["a", "%i"], **{**GIVEN, "icon": ""}) == ["a"]


@pytest.mark.parametrize("words", [["%u"], ["", "x"], ["%z"]])
def test_a_line_that_names_no_program_is_refused(words: list[str]) -> None:
    with pytest.raises(InvalidValue, match="does not name a program"):
        execline.fill(words, **GIVEN)


@pytest.mark.parametrize("code", ["%c", "%i", "%k"])
def test_a_nul_in_what_is_filled_in_is_refused_as_no_program_can_be_given_one(code: str) -> None:
    with pytest.raises(InvalidValue, match="it has a NUL"):
        execline.fill(["a", code], name="a\0b", icon="a\0b", path="/a\0b")
