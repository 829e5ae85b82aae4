"""When a change takes effect, in the words of reports."""

from __future__ import annotations

from vminterface.values.effect import Effect


def test_reports_and_the_json_schema_have_these_words() -> None:
    assert [moment.value for moment in Effect] == ["now", "next start"]
