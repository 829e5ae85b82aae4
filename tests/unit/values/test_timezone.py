"""Time zones: IANA names that lead to zone data, and to nothing else."""

from __future__ import annotations

import os
import zoneinfo
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from vminterface.errors import InvalidValue
from vminterface.values.timezone import SCHEMA, ZONES, Timezone, zone_is_installed

IANA = sorted(zoneinfo.available_timezones() - {"localtime", "posixrules"})


def everywhere(name: str) -> bool:
    return True


def nowhere(name: str) -> bool:
    return False


@pytest.fixture
def zones(tmp_path: Path) -> str:
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe/Warsaw").write_bytes(b"TZif2" + bytes(40))
    (tmp_path / "Europe/Notes").write_text("no zone data")
    os.mkfifo(tmp_path / "Pipe")
    return str(tmp_path)


@given(st.sampled_from(IANA))
def test_every_iana_name_is_well_formed_and_comes_back_as_written(name: Any) -> None:
    assert Timezone.parse(name, exists=everywhere).render() == name


@pytest.mark.parametrize("name", ["Europe/Warsaw", "America/Indiana/Indianapolis", "UTC", "Etc/GMT+5", "Etc/GMT-14"])
def test_zones_of_this_system_are_found(zones_of_this_system: None, name: str) -> None:
    assert Timezone.parse(name) == Timezone(name)


@pytest.fixture
def zones_of_this_system() -> None:
    assert os.path.isdir(ZONES), f"these tests need the system's zone data in {ZONES} (package tzdata)"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/Europe/Warsaw",
        "Europe/Warsaw/",
        "Europe//Warsaw",
        "../../etc/passwd",
        "Europe/../Europe/Warsaw",
        "..",
        ".",
        "A/B/C/D",
        "Europe/Warsaw\n",
        " Europe/Warsaw",
        "Europe/War saw",
        "Europe\\Warsaw",
        "Europe/\u0141\u00f3d\u017a",
        "zone.tab",
        "tzdata.zi",
        "-x",
        "+1",
        "A" * 65,
        "Europe/Warsaw\x00",
        "\u0435urope",
        "$(id)",
    ],
)
def test_names_of_another_form_are_refused_without_a_look_at_any_file(text: str) -> None:
    def exists(name: str) -> NoReturn:
        raise AssertionError("a malformed name reached the file system")

    with pytest.raises(InvalidValue, match="not a valid time zone name"):
        Timezone.parse(text, exists=exists)


@pytest.mark.parametrize("text", ["posixrules", "localtime", "posix/Europe/Warsaw", "right/UTC", "posix", "right"])
def test_zone_data_without_a_name_of_its_own_is_refused_though_it_exists(text: str) -> None:
    with pytest.raises(InvalidValue, match="zone data but not a time zone name"):
        Timezone.parse(text, exists=everywhere)


def test_a_zone_that_is_not_installed_is_refused() -> None:
    with pytest.raises(InvalidValue, match="there is no time zone 'Europe/Krakow'"):
        Timezone.parse("Europe/Krakow", exists=nowhere)


def test_a_file_with_zone_data_is_a_zone(zones: str) -> None:
    assert zone_is_installed("Europe/Warsaw", zones)


@pytest.mark.parametrize("name", ["Europe", "Europe/Notes", "Europe/Berlin", "Europe/Warsaw/x", "Pipe", "x\x00y"])
def test_folders_other_files_pipes_and_missing_names_are_no_zones(zones: str, name: str) -> None:
    assert not zone_is_installed(name, zones)


def test_a_file_that_cannot_be_read_is_no_zone(zones: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise PermissionError

    with monkeypatch.context() as context:
        context.setattr("builtins.open", refuse)
        found = zone_is_installed("Europe/Warsaw", zones)
    assert not found


def test_a_name_has_up_to_64_characters() -> None:
    assert Timezone.parse("A" * 64, exists=everywhere).name == "A" * 64


def test_a_zone_that_is_installed_later_is_found_then(zones: str, tmp_path: Path) -> None:
    assert not zone_is_installed("UTC", zones)
    (tmp_path / "UTC").write_bytes(b"TZif")
    assert zone_is_installed("UTC", zones)


def test_the_schema_takes_what_the_parser_takes_of_any_system() -> None:
    valid = Draft202012Validator(SCHEMA).is_valid
    assert all(map(valid, [*IANA, "A" * 64, "positive/x", "rights"]))
    wrong = [
        "",
        "/",
        "Europe/Warsaw/",
        "A/B/C/D",
        "zone.tab",
        "+1",
        "A" * 65,
        "localtime",
        "posixrules",
        "posix",
        "right",
    ]
    assert not any(map(valid, [*wrong, "posix/UTC", "right/UTC", 5]))
