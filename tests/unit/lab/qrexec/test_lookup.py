"""Which file answers a service in the lab, and what configurations are taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.qrexec.command import Command
from lab.qrexec.lookup import BadConfiguration, Configuration, configuration, program


def put(root: Path, path: str, text: str = "") -> str:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return str(place)


def test_a_program_for_the_argument_in_the_last_folder_goes_before_the_general_one_in_the_first(tmp_path: Path) -> None:
    general = put(tmp_path, "/run/qubes-rpc/a.S")
    special = put(tmp_path, "/etc/qubes-rpc/a.S+b")
    assert program(Command("u", "dom0", "a.S+b"), str(tmp_path)) == special
    assert program(Command("u", "dom0", "a.S+c"), str(tmp_path)) == general
    assert program(Command("u", "dom0", "a.T"), str(tmp_path)) is None


def test_without_an_argument_the_empty_one_is_looked_for_first(tmp_path: Path) -> None:
    put(tmp_path, "/etc/qubes-rpc/a.S")
    empty = put(tmp_path, "/etc/qubes-rpc/a.S+")
    assert program(Command("u", "dom0", "a.S"), str(tmp_path)) == empty


def test_an_argument_too_long_for_a_file_name_finds_the_general_program(tmp_path: Path) -> None:
    general = put(tmp_path, "/etc/qubes-rpc/a.S")
    assert program(Command("u", "dom0", f"a.S+{'b' * 5000}"), str(tmp_path)) == general


def test_the_configuration_is_looked_up_alike(tmp_path: Path) -> None:
    put(tmp_path, "/etc/qubes/rpc-config/a.S+b", "force-user = 'root'")
    put(tmp_path, "/usr/local/etc/qubes/rpc-config/a.S", "wait-for-session=1 # yes")
    assert configuration(Command("u", "dom0", "a.S+b"), str(tmp_path)) == Configuration(force_user="root")
    assert configuration(Command("u", "dom0", "a.S"), str(tmp_path)) == Configuration(wait_for_session=True)
    assert configuration(Command("u", "dom0", "a.T"), str(tmp_path)) == Configuration()


@pytest.mark.parametrize(
    "text", ["wait-for-session = 2", "wait-for-session = 'true'", "force-user = 1", "exit-on-client-eof = 1", " a = 1",
             "a", "= 1", "[a]", 'force-user = "root"', "a = 1\na = 0", "1a = 1"],
)  # fmt: skip
def test_what_is_no_setting_ends_the_call(text: str) -> None:
    with pytest.raises(BadConfiguration):
        Configuration.parse(text)


def test_unknown_keys_comments_and_line_ends_do_not_matter() -> None:
    assert Configuration.parse("# a\r\n\r\nsome-key = 'x' # b\r\nwait-for-session = false") == Configuration()
