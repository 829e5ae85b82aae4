"""docs/messages.md has every message of the sources as it is, and explains none that is gone."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool() -> Any:
    loader = importlib.machinery.SourceFileLoader("messages_page", str(ROOT / "tools/messages-page"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def inventory(tool: Any) -> Any:
    return tool.Inventory()


@pytest.fixture
def kinds(tool: Any, tmp_path: Path) -> Callable[[str], list[tuple[str, str]]]:
    """Gives the texts and kinds of the messages of a file with that text."""

    def collect(text: str) -> list[tuple[str, str]]:
        library = tmp_path / "_utils/vminterface"
        library.mkdir(parents=True)
        (library / "errors.py").write_text(
            "class VMInterfaceError(Exception): ''\nclass InvalidValue(VMInterfaceError): ''\n"
        )
        (library / "one.py").write_text(text)
        return [(one.text, one.kind) for one in tool.Inventory(tmp_path).messages]

    return collect


def test_the_page_has_the_messages_of_the_sources(tool: Any, inventory: Any) -> None:
    """Where this fails, `make pages` writes the page anew."""
    advice = (ROOT / "tools/messages.md").read_text()
    assert (ROOT / "docs/messages.md").read_text() == tool.page(advice, inventory)


def test_every_bracket_of_a_message_is_closed(inventory: Any) -> None:
    # A template's message is what stands before its next word of Jinja.
    texts = [one.text for one in inventory.messages if not one.file.endswith(".jinja")]
    assert [text for text in texts if text.count("(") != text.count(")")] == []
    assert len(texts) > 500


def test_what_the_page_explains_is_said_by_a_source(tool: Any, inventory: Any) -> None:
    known = tool.three(one.text for one in inventory.messages)
    assert tool.unknown_quotes((ROOT / "tools/messages.md").read_text(), known) == []
    assert tool.unknown_quotes("| `work: a sentence of nobody at all` | x | y |\n", known) != []


def test_every_class_of_errors_says_what_to_do(tool: Any, inventory: Any) -> None:
    classes = {name for name in inventory.meanings() if name not in ("InvalidValues",)}
    assert set(tool.ACTIONS) == classes


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("raise InvalidValue(f'{x} is too long (expected {y})')", [("… is too long (expected …)", "InvalidValue")]),
        ("class Own(InvalidValue): ''\nraise Own('is not valid')", [("is not valid", "InvalidValue")]),
        ("def f():\n    why = 'is not valid'\n    raise InvalidValue(why)", [("is not valid", "InvalidValue")]),
        ("self._log('waiting for it')", [("waiting for it", "log")]),
        ("note = 'takes effect at the next start'", [("takes effect at the next start", "note")]),
        ("'''A docstring is none.'''\nx = 'word'\ny = 'qubes-ip'\nre.compile('a b c')", []),
        ("sub.add_argument('x', help='is in the help of the command')", []),
    ],
)
def test_a_message_is_known_by_where_it_goes(
    kinds: Callable[[str], list[tuple[str, str]]], text: str, messages: list[tuple[str, str]]
) -> None:
    assert kinds(text) == messages
