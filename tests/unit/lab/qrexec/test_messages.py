"""The messages of a call's data channel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.qrexec.messages import BODY_MAX, BadMessage, Kind, Parser, pack


@given(
    st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=300)), max_size=8),
    st.lists(st.integers(1, 50), min_size=1),
)
def test_messages_come_as_they_were_sent_however_the_bytes_are_cut(
    sent: list[tuple[Kind, bytes]], cuts: list[int]
) -> None:
    data = b"".join(pack(kind, body) for kind, body in sent)
    parser, at = Parser(), 0
    came: list[tuple[Kind, bytes]] = []
    while at < len(data):
        size = cuts[at % len(cuts)]
        parser.feed(data[at : at + size])
        came += parser.messages()
        at += size
    assert came == sent


def test_a_piece_of_output_has_the_form_of_core_qrexec() -> None:
    assert pack(Kind.STDOUT, b"ab") == b"\x91\x01\x00\x00\x02\x00\x00\x00ab"


@pytest.mark.parametrize("header", [(0x190, BODY_MAX + 1), (0x1, 0), (0, 0xFFFFFFFF)])
def test_what_is_no_message_is_refused_before_its_body_comes(header: tuple[int, int]) -> None:
    parser = Parser()
    parser.feed(header[0].to_bytes(4, "little") + header[1].to_bytes(4, "little"))
    with pytest.raises(BadMessage):
        list(parser.messages())
