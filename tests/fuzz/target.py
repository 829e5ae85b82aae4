"""What a target is: a function that takes foreign bytes, what has to hold of what it gives, seeds and a dictionary.

Whatever the bytes are, the function gives a value, of which *holds* is true, or raises one of this library's errors,
whose sentences are printable and short. Time and memory of each input are bounded, see ``bounds.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from vminterface.errors import InvalidValue, VMInterfaceError

T = TypeVar("T")

#: Characters of one error's sentence, and of the place that it names.
SENTENCE_MAX, PLACE_MAX = 800, 300
#: Bytes of one input, unless the target says otherwise.
INPUT_MAX = 4096
#: What troubles readers of text, whatever its form: in every target's dictionary.
TROUBLE = (
    b"\0", b"\n", b"\r", b"\t", b"\x1b[2J", b"\x7f", b"\xff", b"\xc2\x85", b"\xe2\x80\xa8", b"\xd9\xa1",
    b"\xef\xbc\x91",
    b"..", b"//", b"--", b"%s", b"\\", b"9" * 20, b"-1", b"0x", b"_",
)  # fmt: skip


def nothing(value: Any) -> None:
    """Hold of any *value*: that there is one is all that is asked."""


@dataclass(frozen=True, slots=True)
class Target:
    """One target, called *name* (``wire.qfile``): its corpus is the folder of that name, and its *seeds*."""

    name: str
    parse: Callable[[bytes], Any]
    seeds: tuple[bytes, ...]
    #: Raises AssertionError, or anything else, where something is wrong with what *parse* has returned.
    holds: Callable[[Any], None] = nothing
    words: tuple[bytes, ...] = ()
    input_max: int = INPUT_MAX
    #: What *parse* may raise.
    errors: tuple[type[BaseException], ...] = (VMInterfaceError,)

    def run(self, data: bytes) -> bool:
        """Give *data* to the function; return whether it was taken. Raises for whatever must not be."""
        try:
            value = self.parse(data)
        except self.errors as error:
            check_error(error)
            return False
        self.holds(value)
        return True


def check_error(error: BaseException) -> None:
    """Raise AssertionError unless every sentence of *error* is printable ASCII and short."""
    if isinstance(error, SystemExit):
        assert not error.code, f"it exits with {error.code!r}"
        return
    for one in error.errors if isinstance(error, InvalidValue) else (error,):
        for sentence in str(one).split("\n"):
            assert sentence.isascii(), f"not ASCII: {sentence!r}"
            assert sentence.isprintable(), f"not printable: {sentence!r}"
            assert 5 < len(sentence) <= SENTENCE_MAX, f"a sentence of {len(sentence)} characters: {sentence[:200]!r}"
        where = getattr(one, "where", "")
        assert where.isprintable(), f"place not printable: {where!r}"
        assert len(where) <= PLACE_MAX, f"a place of {len(where)} characters: {where[:200]!r}"


def as_text(data: bytes) -> str:
    """Return *data* as the library takes a key's bytes for text."""
    return data.decode("utf-8", "surrogateescape")


def words_of(text: str) -> tuple[bytes, ...]:
    """Return the words of *text*, a dictionary that is written with blanks between."""
    return tuple(text.encode().split())


def check_text(text: object) -> None:
    """Raise AssertionError unless *text* is printable ASCII in one line."""
    assert isinstance(text, str), f"no text: {text!r}"
    assert text.isascii(), f"not ASCII: {text!r}"
    assert text.isprintable() or not text, f"not printable: {text!r}"


def bytes_target(
    name: str,
    parse: Callable[[bytes], T],
    *seeds: bytes,
    holds: Callable[[T], None] = nothing,
    words: str = "",
    more_words: tuple[bytes, ...] = (),
    input_max: int = INPUT_MAX,
    errors: tuple[type[BaseException], ...] = (VMInterfaceError,),
) -> Target:
    """Return the target of a function that takes bytes."""
    return Target(name, parse, seeds, holds, (*words_of(words), *more_words), input_max, errors)


def text_target(
    name: str,
    parse: Callable[[str], T],
    render: Callable[[T], str] | None,
    *seeds: str,
    holds: Callable[[T], None] = nothing,
    words: str = "",
    input_max: int = INPUT_MAX,
) -> Target:
    """Return the target of a function that takes text. What *render* makes of a value is read as the same value."""

    def check(value: T) -> None:
        if render is not None:
            text = render(value)
            assert isinstance(text, str)
            assert text.isascii(), f"rendered as {text!r}"
            again = parse(text)
            assert again == value, f"{value!r} is rendered as {text!r}, which is {again!r}"
            assert render(again) == text, f"{text!r} is rendered as {render(again)!r}"
        holds(value)

    encoded = tuple(seed.encode("utf-8", "surrogateescape") for seed in seeds)
    return Target(name, lambda data: parse(as_text(data)), encoded, check, words_of(words), input_max)
