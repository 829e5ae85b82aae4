"""Text in ASCII, beside what the program iconv makes of it."""

# ruff: noqa: RUF001  signs that look like others are what this is about

from __future__ import annotations

import os
import subprocess

import pytest

from vminterface.values.transliterate import to_ascii

#: Where ours has an ASCII form and glibc has none.
BETTER = set("¨¯ǄǅǆǱǲǳ")
LATIN = [chr(code) for code in range(0xA0, 0x180)]
SIGNS = list("‐‑‒–—―‘’‚‛“”„‟†•…‹›⁄€™→←−ƒȷẞ")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Łódź", "Lodz"),
        ("Grüße", "Grusse"),
        ("Ørsted", "Orsted"),
        ("a–b", "a-b"),
        ("Café", "Cafe"),
        ("plain ASCII!", "plain ASCII!"),
        ("", ""),
        ("漢", "?"),
        ("Ж\x00", "?\x00"),
    ],
)
def test_letters_of_latin_scripts_become_plain_ones(text: str, plain: str) -> None:
    assert to_ascii(text) == plain


def test_what_has_no_form_may_be_left_out() -> None:
    assert to_ascii("a漢b", "") == "ab"


def test_latin_letters_and_signs_are_those_of_iconv() -> None:
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    characters = [c for c in LATIN + SIGNS if c not in BETTER]
    iconv = ["iconv", "-f", "utf-8", "-t", "ascii//TRANSLIT"]
    done = subprocess.run(
        iconv, input="\n".join(characters).encode(), capture_output=True, check=False, env=environment, timeout=20
    )
    theirs = dict(zip(characters, done.stdout.decode("ascii").split("\n"), strict=True))
    assert {c: to_ascii(c) for c in characters} == theirs
