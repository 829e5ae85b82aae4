"""Names and links that a file copy may carry: below its folder, pointing into it, and readable as what they are."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import seeds
from vminterface.wire.qfile_names import check_link, check_name, is_plain
from vminterface.wire.qfile_result import Refused

BAD_FORMS = [b"", b"/", b"/a", b"a/", b"a//b", b".", b"..", b"./a", b"a/.", b"../a", b"a/..", b"a/../b", b"a\0"]


@pytest.mark.parametrize("allow_all_names", [False, True])
@pytest.mark.parametrize("name", BAD_FORMS)
def test_a_name_of_another_form_is_refused_whatever_is_allowed(name: bytes, allow_all_names: bool) -> None:
    with pytest.raises(Refused) as caught:
        check_name(name, allow_all_names=allow_all_names)
    assert (caught.value.code, caught.value.name) == (errno.EILSEQ, name)
    assert ("NUL byte" if b"\0" in name else "relative path") in str(caught.value)


@pytest.mark.parametrize("name", ["a/b/c", ".hidden", "...", "-rf", "a 'b' \"c\"", "é", "漢/字", "żółć", "10€", "§"])
def test_usual_names_are_taken(name: str) -> None:
    assert check_name(name.encode()) == name.encode()


@pytest.mark.parametrize(
    "name",
    [
        b"\x1b[31m",
        b"\n",
        b"\x7f",
        b"\xff",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\x80",
        *(
            chr(code).encode()
            for code in (0x5D0, 0x627, 0x1F600, 0x2603, 0xA0, 0x2003, 0x202E, 0xFEFF, 0x200B, 0xAD, 0xB0, 0x301, 0xFE0F)
        ),
        *(chr(code).encode() for code in (0xE0041, 0x85, 0x2028, 0xE000, 0x378, 0x2800, 0x1F3FB)),
    ],
)
def test_unusual_characters_need_allow_all_names(name: bytes) -> None:
    with pytest.raises(Refused) as caught:
        check_name(b"a/" + name)
    assert (caught.value.code, caught.value.name) == (errno.EILSEQ, b"a/" + name)
    assert "taken only with 'allow-all-names'" in str(caught.value)
    assert not is_plain(name)
    assert check_name(b"a/" + name, allow_all_names=True) == b"a/" + name


@pytest.mark.parametrize(
    ("name", "target"),
    [
        (b"d/l", b"a"),
        (b"d/l", b"a/b"),
        (b"d/e/l", b"../a"),
        (b"d/e/l", b".."),
        (b"d/e/f/l", b"../../a"),
        (b"d/l", b"."),
        (b"d/l", b"./a"),
        (b"d/l", b"a//b"),
        (b"d/l", b"a/"),
        (b"d/e/l", b"./../a"),
        (b"d/e/l", b".//.."),
        (b"d/e/l", b"..//.//a"),
        (b"d/e/f/l", b".././../a"),
        (b"d/e/f/l", b".././/../"),
        (b"d/l", "é".encode()),
    ],
)
def test_links_inside_the_copied_folder_are_taken(name: bytes, target: bytes) -> None:
    assert check_link(name, target) == target


@pytest.mark.parametrize(
    ("name", "target", "code"),
    [
        (b"l", b"a", errno.ENOLINK),
        (b"d/l", b"/etc/passwd", errno.ENOLINK),
        (b"d/l", b"..", errno.ENOLINK),
        (b"d/l", b"../a", errno.ENOLINK),
        (b"d/e/l", b"../../a", errno.ENOLINK),
        (b"d/e/l", b"x/../y", errno.ENOLINK),
        (b"d/l", b"./../y", errno.ENOLINK),
        (b"d/l", b".//..", errno.ENOLINK),
        (b"d/e/l", b".././../y", errno.ENOLINK),
        (b"d/e/l", b"./x/./../y", errno.ENOLINK),
        (b"d/e/l", b"//../y", errno.ENOLINK),
        (b"d/e/l", b"x/..", errno.ENOLINK),
        (b"d/l", b"a" * 4096, errno.ENAMETOOLONG),
        (b"d/l", b"a\0b", errno.EILSEQ),
        (b"d/l", b"\x1b", errno.EILSEQ),
        (b"d/l", b"\xff", errno.EILSEQ),
    ],
)
def test_other_links_are_refused_and_the_refusal_names_the_target(name: bytes, target: bytes, code: int) -> None:
    with pytest.raises(Refused) as caught:
        check_link(name, target)
    assert (caught.value.code, caught.value.name) == (code, target)


@pytest.mark.parametrize(
    ("name", "target", "why"),
    [
        (b"l", b"a", "is not inside a copied folder"),
        (b"d/l", b"/a", "absolute path"),
        (b"d/l", b"../a", "points outside the copied folder"),
        (b"d/l", b"\x1b", "characters that a link target cannot have"),
    ],
)
def test_a_refused_link_is_told_why(name: bytes, target: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why):
        check_link(name, target)


def test_a_target_has_up_to_4095_bytes() -> None:
    assert check_link(b"d/l", b"a" * 4095) == b"a" * 4095


def test_a_link_without_a_target_is_refused_by_its_own_name() -> None:
    with pytest.raises(Refused, match="'d/l': a symbolic link with an empty target") as caught:
        check_link(b"d/l", b"")
    assert (caught.value.code, caught.value.name) == (errno.ENOENT, b"d/l")


def test_allow_all_names_does_not_lift_the_rules_on_links() -> None:
    assert check_link(b"d/l", b"\xff", allow_all_names=True) == b"\xff"
    for target in (b"../a", b"/a", b"a\0b", b""):
        with pytest.raises(Refused):
            check_link(b"d/l", target, allow_all_names=True)


parts = st.sampled_from([b"..", b".", b"a", b"", b"e"])


@given(st.lists(st.sampled_from([b"a", b"e"]), min_size=1, max_size=5), st.lists(parts, max_size=6))
def test_a_link_that_is_taken_points_into_the_top_folder(name_parts: Any, target_parts: Any) -> None:
    name, target = b"/".join(name_parts), b"/".join(target_parts)
    try:
        check_link(name, target)
    except Refused:
        return
    landed = os.path.normpath(b"/top/" + os.path.join(os.path.dirname(name), target))
    assert (landed + b"/").startswith(b"/top/" + name_parts[0] + b"/")


@pytest.mark.fuzz
def test_random_names_are_taken_in_one_form_or_refused() -> None:
    chance = seeds.chance("names of copied files")
    runs = seeds.rounds(100_000)
    alphabet = [b"/", b".", b"..", b"a", b"\0", b"\xc3", b"\xa9", b"\xd7\x90", b"\xf0\x9f\x98\x80", b"\n", b" "]
    taken = 0
    codes = set()
    for _ in range(runs):
        name = b"".join(chance.choices(alphabet, weights=[4, 3, 1, 12, 1, 2, 2, 1, 1, 1, 2], k=chance.randrange(8)))
        all_names = chance.random() < 0.5
        try:
            check_name(name, allow_all_names=all_names)
        except Refused as fault:
            codes.add(fault.code)
            continue
        taken += 1
        assert os.path.normpath(name) == name
        assert not name.startswith((b"/", b"../"))
    assert taken > runs // 100
    assert codes == {errno.EILSEQ}
