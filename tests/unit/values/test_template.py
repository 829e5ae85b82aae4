"""What ``qubes.TemplateSearch`` answers: templates, other packages, and what is no list at all."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from vminterface.errors import InvalidValue, printable
from vminterface.values.template import REPLY_LIMIT, ROW_LIMIT, Template, parse_reply

ROW = b"qubes-template-debian-13|0|4.3.0|202501010000|itl|12|2025-01-01 00:00|GPL|http://example.org|Debian|A template|"
OTHER = ROW.replace(b"qubes-template-debian-13", b"bash")


def test_templates_are_taken_and_other_packages_and_text_beside_them_passed_over() -> None:
    other = OTHER.replace(b"bash", b"Xqubes-template-a")
    indented = OTHER.replace(b"bash", b" qubes-template-a")
    assert [one.name for one in parse_reply(b"\n".join((OTHER, ROW, other, indented, b"a note\n")))] == ["debian-13"]


@pytest.mark.parametrize("reply", [b"", b"\n", OTHER + b"\n"])
def test_an_answer_may_have_no_template(reply: bytes) -> None:
    assert parse_reply(reply) == []


@pytest.mark.parametrize("reply", [b"a|b|c\n", b"Error: no network\n", b"\xff" * 9000, ROW[1:40]])
def test_other_text_is_no_list_without_templates(reply: bytes) -> None:
    with pytest.raises(InvalidValue, match="is not a valid list of templates") as caught:
        parse_reply(reply)
    assert str(caught.value).startswith(f"'{printable(reply[:60].strip(), 60)}'")


def changed(number: int, text: bytes) -> bytes:
    """Return ROW with another field of that number, counted from 0."""
    fields = ROW.split(b"|")
    fields[number] = text
    return b"|".join(fields)


def test_each_field_has_its_place() -> None:
    assert parse_reply(ROW + b"\n") == [
        Template(
            name="debian-13", epoch="0", version="4.3.0", release="202501010000", repository="itl", size=12,
            built=datetime(2025, 1, 1, tzinfo=UTC), license="GPL", url="http://example.org", summary="Debian",
            description="A template",
        )
    ]  # fmt: skip


def test_a_package_is_called_by_name_epoch_version_and_release() -> None:
    assert parse_reply(ROW)[0].package == "qubes-template-debian-13-0:4.3.0-202501010000"


@pytest.mark.parametrize("end", [b"\n", b"\n\n"])
def test_rows_of_dnf_5_end_once_and_those_of_dnf_4_twice(end: bytes) -> None:
    other = changed(0, b"qubes-template-fedora-42")
    assert [one.name for one in parse_reply(ROW + end + other + end)] == ["debian-13", "fedora-42"]
    assert [one.name for one in parse_reply(ROW + end + other)] == ["debian-13", "fedora-42"]


def test_a_description_may_have_lines_and_is_shown_in_printable_ascii() -> None:
    (found,) = parse_reply(changed(10, b"two\nlines \x1b[2J\xff") + b"\n")
    assert found.description == "two\\nlines \\x1b[2J\\xff"
    assert len(parse_reply(changed(9, b"x" * 5000))[0].summary) == 4096


@pytest.mark.parametrize(
    ("text", "built"),
    [
        (b"0", datetime(1970, 1, 1, tzinfo=UTC)),
        (b"1735689600", datetime(2025, 1, 1, tzinfo=UTC)),
        (b"2025-12-31 23:59", datetime(2025, 12, 31, 23, 59, tzinfo=UTC)),
        (b"2025-1-2 3:4", datetime(2025, 1, 2, 3, 4, tzinfo=UTC)),
    ],
)
def test_a_build_has_its_time_as_dnf_4_or_dnf_5_writes_it(text: bytes, built: datetime) -> None:
    assert parse_reply(changed(6, text))[0].built == built


@pytest.mark.parametrize("text", [b"", b"-1", b"soon", b"2025-13-01 00:00", b"2025-01-01", b"9" * 12, b"1 "])
def test_another_time_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidValue, match="is not a valid time of a template's build"):
        parse_reply(changed(6, text))


@pytest.mark.parametrize(
    ("number", "key", "good", "bad"),
    [
        (0, "name", [b"qubes-template-a", b"qubes-template-" + b"a" * 255, b"qubes-template-A._+-"],
         [b"qubes-template-", b"qubes-template--a", b"qubes-template-a b", b"qubes-template-" + b"a" * 256]),
        (1, "epoch", [b"0", b"1"], [b"", b"a b", b"0-1"]),
        (2, "version", [b"4.3.0~rc1^git", b"v" * 64], [b"", b"v" * 65, b"4:3"]),
        (3, "release", [b"1.fc41", b"R_+1"], [b"", b"1-2", b"a/b"]),
        (4, "repository", [b"qubes-templates-itl", b"r" * 255], [b"", b"-x", b"a/b", b"r" * 256]),
        (5, "size", [b"0", b"9" * 15], [b"", b"9" * 16, b"-1", b"1.5", b"12 "]),
    ],
)  # fmt: skip
def test_what_dom0_uses_is_of_a_strict_form(number: int, key: str, good: list[bytes], bad: list[bytes]) -> None:
    for text in good:
        assert len(parse_reply(changed(number, text))) == 1, text
    for text in bad:
        with pytest.raises(InvalidValue, match=f"is not a valid {key} of a template"):
            parse_reply(changed(number, text))


@pytest.mark.parametrize("row", [ROW[:-1].rpartition(b"|")[0] + b"|", ROW + b"more|"])
def test_a_row_of_a_template_with_fewer_or_more_fields_is_refused(row: bytes) -> None:
    with pytest.raises(
        InvalidValue, match=r"'qubes-template-debian-13\|.* is not a valid row of a template \(expected 11 fields\)"
    ):
        parse_reply(row)


def test_an_answer_has_a_limited_number_of_rows() -> None:
    other = OTHER + b"\n"
    assert parse_reply(other * 9_999) == []
    with pytest.raises(InvalidValue, match="too many templates"):
        parse_reply(other * 10_000)
    assert len(other) * ROW_LIMIT < REPLY_LIMIT
