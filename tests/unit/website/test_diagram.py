"""Diagrams of messages: lines that anybody can read, drawn as SVG."""

from xml.etree import ElementTree

import pytest

from website.diagram import Step, WrongLine, parse, svg

TEXT = """
dom0 -> store: write & wait
store: keeps it
store -> agent: event
"""


def test_a_message_has_two_parties_and_a_note_one() -> None:
    assert parse(TEXT) == [
        Step("dom0", "store", "write & wait"),
        Step("store", "store", "keeps it"),
        Step("store", "agent", "event"),
    ]


@pytest.mark.parametrize("line", ["nothing of that", "a -> : text", "->"])
def test_another_line_is_an_error_that_says_what_is_expected(line: str) -> None:
    with pytest.raises(WrongLine, match="expected 'LEFT -> RIGHT: TEXT' or 'PARTY: TEXT'"):
        parse(line)


def test_the_picture_is_svg_with_the_parties_in_their_order_and_all_texts() -> None:
    shown = [
        element.text for element in ElementTree.fromstring(svg(parse(TEXT))).iter() if element.tag.endswith("text")
    ]
    assert shown == ["dom0", "store", "agent", "write & wait", "keeps it", "event"]
