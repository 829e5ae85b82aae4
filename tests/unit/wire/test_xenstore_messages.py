"""XenStore's operations and the forms of their payloads, as ``xs_wire.h`` and ``xenstore.txt`` of Xen have them."""

from __future__ import annotations

import pytest

from vminterface.wire.xenstore_messages import SHAPES, Malformed, Op, decode_reply, decode_request, encode_request

#: Operations that name no path: their arguments come first.
WITHOUT_PATH = {
    Op.CONTROL, Op.TRANSACTION_START, Op.TRANSACTION_END, Op.INTRODUCE, Op.RELEASE, Op.GET_DOMAIN_PATH,
    Op.IS_DOMAIN_INTRODUCED, Op.RESUME, Op.SET_TARGET, Op.RESET_WATCHES,
}  # fmt: skip


def test_each_operation_has_the_number_of_xs_wire_h() -> None:
    names = (
        "CONTROL DIRECTORY READ GET_PERMS WATCH UNWATCH TRANSACTION_START TRANSACTION_END INTRODUCE RELEASE"
        " GET_DOMAIN_PATH WRITE MKDIR RM SET_PERMS WATCH_EVENT ERROR IS_DOMAIN_INTRODUCED RESUME SET_TARGET"
    )
    numbers = {name: number for number, name in enumerate(names.split())}
    assert dict(Op.__members__) == numbers | {"RESET_WATCHES": 21, "DIRECTORY_PART": 22}  # 20 was RESTRICT


@pytest.mark.parametrize("op", SHAPES)
def test_an_operation_takes_a_path_or_none(op: Op) -> None:
    assert SHAPES[op].path is (op not in WITHOUT_PATH)


@pytest.mark.parametrize("op", [Op.WATCH, Op.UNWATCH])
def test_special_paths_can_be_watched_and_no_longer_be_watched(op: Op) -> None:
    assert encode_request(op, "@releaseDomain", b"", ("token",)) == b"@releaseDomain\0token\0"


@pytest.mark.parametrize("op", [Op.READ, Op.WRITE, Op.RM, Op.MKDIR, Op.DIRECTORY])
def test_special_paths_have_no_value_and_nothing_below_them(op: Op) -> None:
    with pytest.raises(Malformed, match="can only be watched"):
        encode_request(op, "@releaseDomain", b"", ())


@pytest.mark.parametrize(
    ("op", "path", "arguments"),
    [
        (Op.DIRECTORY_PART, "a", ("x",)), (Op.SET_TARGET, "", ("1", "x")), (Op.INTRODUCE, "", ("1", "2", "x")),
        (Op.RELEASE, "", ("-1",)), (Op.TRANSACTION_END, "", ("X",)), (Op.SET_PERMS, "a", ("q0",)),
    ],
)  # fmt: skip
def test_a_client_asks_for_nothing_that_no_daemon_takes(op: Op, path: str, arguments: tuple[str, ...]) -> None:
    with pytest.raises(Malformed, match=rf"{op.name}: argument '.*' is not valid \(expected .*[a-zT].*\)"):
        encode_request(op, path, b"", arguments)


def test_a_daemon_reads_numbers_and_permissions_as_xenstored_does_whatever_their_form() -> None:
    assert decode_request(Op.RELEASE, b"seven\0") == ("", b"", ("seven",))
    assert decode_request(Op.SET_PERMS, b"a\0q\0") == ("a", b"", ("q",))
    with pytest.raises(Malformed, match="TRANSACTION_END"):
        decode_request(Op.TRANSACTION_END, b"X\0")


def test_an_answer_that_should_be_ok_and_is_not_is_shown() -> None:
    with pytest.raises(Malformed, match=r"WRITE replied with 'KO\\x00' \(expected OK\)"):
        decode_reply(Op.WRITE, b"KO\0")
