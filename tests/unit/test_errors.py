"""Whatever a value is, a message can show it: as printable ASCII, and no longer than the message has room for."""

from __future__ import annotations

import datetime
from collections import OrderedDict

import pytest

from vminterface.dom0.results.raising import raising
from vminterface.errors import printable_path, printable_value

DEEP: list[object] = []
for _ in range(5000):
    DEEP = [DEEP]
ITSELF: dict[str, object] = {}
ITSELF["x"] = ITSELF


# No parameters, as pytest writes these out.
SHOWN: list[tuple[object, str]] = [
    ("work", "work"),
    ("a\nb\u00e9", "a\\nb\\xe9"),
    (b"a\x80\xffb".decode("utf-8", "surrogateescape"), "a\\x80\\xffb"),
    (True, "True"),
    (None, "None"),
    (7, "7"),
    (0.5, "0.5"),
    (datetime.date(2020, 1, 2), "2020-01-02"),
    (["a", 1], "['a', 1]"),
    ({"a": "b"}, "{'a': 'b'}"),
    (OrderedDict(a="b"), "{'a': 'b'}"),
    (16**5000, "0x1" + "0" * 54 + "..."),
    (-(16**5000), "-0x1" + "0" * 53 + "..."),
    (10**4000, "1" + "0" * 56 + "..."),
    ([16**5000], "[0x1" + "0" * 53 + "..."),
    ("x" * 100, "x" * 57 + "..."),
]


def test_a_value_is_shown_as_it_was_written() -> None:
    assert [printable_value(value) for value, _ in SHOWN] == [shown for _, shown in SHOWN]


def test_text_may_be_quoted() -> None:
    assert printable_value("1920", quoted=True) == "'1920'"
    assert printable_value(1920, quoted=True) == "1920"
    assert printable_value("x" * 100, 10, quoted=True) == "'xxxxxx..."


def test_no_value_is_too_much() -> None:
    for value in (DEEP, ITSELF, [DEEP] * 100, {"a": DEEP}, b"\xff" * 100, list(range(10**6)), object()):
        assert len(printable_value(value, 40)) <= 40


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/srv/notes", "/srv/notes"),
        ("x" * 20, "x" * 20),
        ("/a/folder/the last part", ".../the last part"),
        (b"/a/folder/the last part", ".../the last part"),
        ("/a/folders/with/a/part", ".../with/a/part"),
        ("/a/folder/a last part that is long", "...part that is long"),
        ("/a/folder/a last one/", ".../a last one/"),
        (b"/a/folder/of/\x1b\xff\xfe\n", r".../\x1b\xff\xfe\n"),
        ("/\U0001f600\U0001f600", "...\\U0001f600"),
        ("/" * 100, "..." + "/" * 17),
    ],
)
def test_a_path_that_is_cut_keeps_its_end(path: str | bytes, shown: str) -> None:
    assert printable_path(path, 20) == shown


def test_no_path_is_longer_than_asked_for() -> None:
    for path in ("\U0001f600" * 1000, b"\xff" * 1000, "/a" * 1000, "a" * 201, "/" + "\n" * 150):
        assert len(printable_path(path)) <= 200
        assert printable_path(path).startswith("...")


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
def test_a_lack_of_memory_or_threads_is_one_sentence_for_salt_too(error: Exception) -> None:
    with pytest.raises(KeyError, match="gets no more memory or threads"), raising(ValueError, KeyError):
        raise error


def test_another_runtime_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="boom"), raising(ValueError, KeyError):
        raise RuntimeError("boom")
