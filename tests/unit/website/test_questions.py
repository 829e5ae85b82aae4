"""The questions of an admin: what counts as found on a site; ``make docs`` tries the real one."""

import json
from pathlib import Path

import pytest

from website import questions
from website.questions import Question

ONE = Question("Which colour?", "paint", "Colours", "blue", "colours")
NAVIGATION = '<a class="reference internal" href="paint.html">'
STEMS = {"docnames": ["paint"], "titleterms": {"memori": 0, "set": 0, "i": 0}}
PAGE = '<h1>Paint<a class="headerlink" href="#x">P</a></h1><h2>Colours</h2><p>It is <b>blue</b>.</p><h2>Prices</h2>'
SEARCH = {"docnames": ["index", "paint"], "titleterms": {"colour": 1, "paint": [0, 1], "col": 0}}


def site(folder: Path, navigation: str = NAVIGATION, page: str = PAGE, search: object = SEARCH) -> Path:
    (folder / "index.html").write_text(navigation)
    (folder / "paint.html").write_text(page)
    (folder / "searchindex.js").write_text(f"Search.setIndex({json.dumps(search)})")
    return folder


def test_no_question_is_there_twice() -> None:
    assert len({one.text for one in questions.QUESTIONS}) == len(questions.QUESTIONS) >= 20


def test_a_site_that_answers_has_no_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "QUESTIONS", (ONE,))
    assert list(questions.errors(site(tmp_path))) == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"navigation": ""}, "the navigation does not lead to paint"),
        ({"page": PAGE.replace("Colours", "Colors")}, "paint has no heading 'Colours'"),
        ({"page": PAGE.replace("blue", "red") + "blue"}, "'Colours' of paint does not have 'blue'"),
        ({"search": {**SEARCH, "titleterms": {"colour": 0}}}, "a search for 'colours' finds index"),
        ({"search": {**SEARCH, "titleterms": {}}}, "a search for 'colours' finds no page"),
    ],
)
def test_what_is_lacking_is_named(
    change: dict[str, str], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "QUESTIONS", (ONE,))
    assert list(questions.errors(site(tmp_path, **change))) == [f"'Which colour?': {error}"]


@pytest.mark.parametrize(("words", "pages"), [("memory settings", ["paint"]), ("memory colours", []), ("in", [])])
def test_a_word_is_searched_by_its_stem(words: str, pages: list[str]) -> None:
    assert questions.found(STEMS, words) == pages


def test_a_reader_types_another_apostrophe_than_the_site_prints() -> None:
    assert questions.plain("A VM\N{RIGHT SINGLE QUOTATION MARK}s &lt;<b>name</b>&gt; ") == "A VM's <name>"
