"""What ``qubes.TemplateSearch`` answers: templates, other packages, and what is no list at all."""

from __future__ import annotations

import pytest

from vminterface.errors import InvalidValue
from vminterface.values.template import parse_reply

ROW = b"qubes-template-debian-13|0|4.3.0|202501010000|itl|12|2025-01-01 00:00|GPL|http://example.org|Debian|A template|"
OTHER = ROW.replace(b"qubes-template-debian-13", b"bash")


def test_templates_are_taken_and_other_packages_and_text_beside_them_passed_over() -> None:
    assert [one.name for one in parse_reply(b"\n".join((OTHER, ROW, b"a note\n")))] == ["debian-13"]


@pytest.mark.parametrize("reply", [b"", b"\n", OTHER + b"\n"])
def test_an_answer_may_have_no_template(reply: bytes) -> None:
    assert parse_reply(reply) == []


@pytest.mark.parametrize("reply", [b"a|b|c\n", b"Error: no network\n", b"\xff" * 9000, ROW[1:40]])
def test_other_text_is_no_list_without_templates(reply: bytes) -> None:
    with pytest.raises(InvalidValue, match="is not a valid list of templates"):
        parse_reply(reply)
