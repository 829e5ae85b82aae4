"""The command line of a desktop entry: the value of ``Exec``, split into words, its field codes filled in.

Source: freedesktop desktop entry specification 1.5, "The Exec key". What GLib takes beyond that is taken too, since
applications are tried with it: single quotes, a backslash outside of quotes, and field codes that nobody knows, which
stand for nothing.
"""

from __future__ import annotations

from vminterface.errors import InvalidValue, printable

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SHOWN = 80
#: Of values of the type string, and so of the whole line before its quotes count.
_ESCAPES = {"s": " ", "n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
_SPECIAL = frozenset("\"'\\")
#: What a backslash makes a plain character of between double quotes.
_QUOTED = frozenset('"`$\\\n')
#: Codes for files, of which a menu entry has none, and those that the specification has withdrawn.
_NOTHING = frozenset(f"%{code}" for code in "fFuUdDnNvm")


def unescape(value: str) -> str:
    r"""Return a value of the type string without its escapes (``\s``, ``\n``, ``\t``, ``\r``, ``\\``)."""
    if "\\" not in value:
        return value
    characters = iter(value)
    return "".join(one if one != "\\" else _escaped(next(characters, "")) for one in characters)


def split(line: str) -> list[str]:
    """Return the words of the unescaped *line*. Raises InvalidValue: an open quote, a NUL, no word at all."""
    if "\0" in line:
        raise InvalidValue(f"'{printable(line, _SHOWN)}' is not a valid command line (it has a NUL byte)")
    if _SPECIAL.isdisjoint(line):
        words = [word for word in line.replace("\t", " ").replace("\n", " ").split(" ") if word]
    else:
        words = list(_words(line))
    if not words:
        raise InvalidValue("the command line is empty (expected a program)")
    return words


def fill(words: Sequence[str], *, name: str, icon: str, path: str) -> list[str]:
    """Return *words* with field codes filled in: *name*, *icon* (may be empty) and *path* of the desktop entry.

    A word that is a code for files goes, as there are none. Raises InvalidValue where no program is left, and for a
    NUL in what is filled in.
    """
    filled: list[str] = []
    for word in words:
        if word == "%i":
            filled += ["--icon", icon] if icon else []
        elif word not in _NOTHING:
            filled.append(_filled(word, {"%": "%", "c": name, "k": path}))
    if not filled or not filled[0]:
        raise InvalidValue(f"'{printable(' '.join(words), _SHOWN)}' does not name a program")
    if any("\0" in word for word in filled):
        raise InvalidValue(f"'{printable(' '.join(filled), _SHOWN)}' is not a valid command line (it has a NUL byte)")
    return filled


def _words(line: str) -> Iterator[str]:
    word: list[str] | None = None
    characters = iter(line)
    for one in characters:
        if one in " \t\n":
            if word is not None:
                yield "".join(word)
            word = None
            continue
        word = [] if word is None else word
        if one in "\"'":
            word += _quoted(one, characters, line)
        elif one == "\\":
            word.append(next(characters, one))
        else:
            word.append(one)
    if word is not None:
        yield "".join(word)


def _escaped(character: str) -> str:
    return _ESCAPES.get(character, f"\\{character}")


def _quoted(quote: str, characters: Iterator[str], line: str) -> list[str]:
    """Return what stands before the closing *quote*, which is taken too."""
    inside: list[str] = []
    for one in characters:
        if one == quote:
            return inside
        if one == "\\" and quote == '"':
            after = next(characters, "")
            inside.append(after if after in _QUOTED else one + after)
        else:
            inside.append(one)
    raise InvalidValue(f"'{printable(line, _SHOWN)}' is not a valid command line (a quote is not closed)")


def _filled(word: str, codes: dict[str, str]) -> str:
    text, percent, rest = word.partition("%")
    while percent:
        after, percent, following = rest[1:].partition("%")
        text += (codes.get(rest[0], "") if rest else "%") + after
        rest = following
    return text
