"""Text in ASCII for what takes no other: accents go, letters and signs of their own become those that stand for them.

The replacements are those of glibc's ``iconv -t ascii//TRANSLIT`` in the locale C.UTF-8, which Qubes' own scripts use.
"""

# ruff: noqa: RUF001  signs that look like others are what this is about

from __future__ import annotations

import unicodedata

#: What stands for a character that has no ASCII form.
UNKNOWN = "?"

#: Characters that do not decompose into an ASCII one and accents.
_TABLE = str.maketrans(
    {
        **dict(zip("ĐÐđðĦħıĸŁłŃŊŋŦŧØøƒȷƀɃƗƚȽȾŽƵƶ", "DDddHhiqLlNNnTtOofjbBIlLTZZz", strict=True)),
        "Æ": "AE",
        "æ": "ae",
        "Ǽ": "AE",
        "ǽ": "ae",
        "Œ": "OE",
        "œ": "oe",
        "ß": "ss",
        "ẞ": "SS",
        "Þ": "TH",
        "þ": "th",
        "Ŀ": "L",
        "ŀ": "l",
        "ŉ": "'n",
        "Ǿ": "O",
        "ǿ": "o",
        "µ": "u",
        **dict.fromkeys("‐‑‒–―−\N{SOFT HYPHEN}", "-"),
        "—": "--",
        "•": "o",
        "·": ".",
        "…": "...",
        "‹": "<",
        "›": ">",
        "«": "<<",
        "»": ">>",
        "¦": "|",
        "†": "+",
        **dict.fromkeys("‘’‛´", "'"),
        **dict.fromkeys("“”‟", '"'),
        "‚": ",",
        "„": ",,",
        "¡": "!",
        "¬": "!",
        "×": "x",
        "÷": "/",
        "±": "+-",
        "⁄": "/",
        "¸": ",",
        "¼": " 1/4 ",
        "½": " 1/2 ",
        "¾": " 3/4 ",
        "©": "(C)",
        "®": "(R)",
        "™": "(TM)",
        "€": "EUR",
        "¢": "c",
        "£": "GBP",
        "¥": "JPY",
        "→": "->",
        "←": "<-",
        "\N{ZERO WIDTH SPACE}": "",
        "\N{WORD JOINER}": "",
    }
)


def to_ascii(text: str, unknown: str = UNKNOWN) -> str:
    """Return *text* in ASCII; *unknown* stands for a character that has no such form."""
    if text.isascii():
        return text
    plain = unicodedata.normalize("NFKD", text.translate(_TABLE))
    return "".join(c if c.isascii() else unknown for c in plain if not unicodedata.combining(c))
