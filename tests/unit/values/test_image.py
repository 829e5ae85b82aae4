"""Pictures from VMs: counted, never decoded."""

from __future__ import annotations

import struct
import zlib
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vminterface.errors import InvalidValue
from vminterface.values.image import ICON, PICTURE, Image, Limits

PIXELS = bytes.fromhex("ff0000ff00ff0080")


def unpack_png(png: bytes) -> tuple[int, int, bytes]:
    """Return width, height and the pixels of a PNG file with 8-bit RGBA rows that have no filter."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, rest = [], png[8:]
    while rest:
        (size,) = struct.unpack(">I", rest[:4])
        kind, data, crc = rest[4:8], rest[8 : 8 + size], rest[8 + size : 12 + size]
        assert struct.unpack(">I", crc)[0] == zlib.crc32(kind + data)
        chunks.append((kind, data))
        rest = rest[12 + size :]
    assert [kind for kind, _ in chunks] == [b"IHDR", *[b"IDAT"] * (len(chunks) - 2), b"IEND"]
    assert chunks[-1] == (b"IEND", b"")
    width, height, *form = struct.unpack(">IIBBBBB", chunks[0][1])
    assert form == [8, 6, 0, 0, 0]
    rows = zlib.decompress(b"".join(data for _, data in chunks[1:-1]))
    row = width * 4 + 1
    assert {rows[n * row] for n in range(height)} == {0}
    return width, height, b"".join(rows[n * row + 1 : (n + 1) * row] for n in range(height))


@pytest.mark.parametrize(
    "reply", [b"2 1\n" + PIXELS, b"02 1\n" + PIXELS, b"2 1\n" + PIXELS + b"x", b"000002 1\n" + PIXELS]
)
def test_a_header_and_enough_pixels_are_a_picture(reply: bytes) -> None:
    assert Image.parse(reply) == Image(2, 1, PIXELS)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"\n",
        b"2 1",
        b"2 1\n",
        b"2 1\n" + PIXELS[:7],
        b"2  1\n" + PIXELS,
        b"2 1 \n" + PIXELS,
        b"2 1\r\n" + PIXELS,
        b" 2 1\n" + PIXELS,
        b"0 1\n",
        b"1 0\n",
        b"2049 1\n" + bytes(9000),
        b"1 2049\n" + bytes(9000),
        b"00000002 1\n" + PIXELS,
        b"-2 1\n" + PIXELS,
        b"2 1 1\n" + PIXELS,
        b"\xff\xfe\n",
        "٢ 1\n".encode() + PIXELS,
        b"99999999999999999999 1\n",
    ],
)
def test_every_other_answer_is_refused(reply: bytes) -> None:
    with pytest.raises(InvalidValue, match="expected"):
        Image.parse(reply)


def test_pictures_may_be_larger_than_icons() -> None:
    wide = b"8192 1\n" + bytes(8192 * 4)
    assert Image.parse(wide, PICTURE).width == 8192
    with pytest.raises(InvalidValue, match="8192 by 1 pixels"):
        Image.parse(wide)
    assert (ICON.header_size, ICON.reply_size) == (10, 10 + (16 << 20))
    assert PICTURE.reply_size == 10 + (160 << 20)


def test_the_smallest_limits_hold() -> None:
    assert Image.parse(b"1 1\nabcd", Limits(1, 1)).rgba == b"abcd"


def test_pixels_that_do_not_fit_the_size_make_no_picture() -> None:
    with pytest.raises(InvalidValue, match="8 bytes are not a picture of 2 by 2 pixels"):
        Image(2, 2, PIXELS)
    for width, height in ((0, 0), (0, 5), (5, 0)):
        with pytest.raises(InvalidValue, match=f"0 bytes are not a picture of {width} by {height} pixels"):
            Image(width, height, b"")


images = st.tuples(st.integers(1, 20), st.integers(1, 20)).flatmap(
    lambda size: st.binary(min_size=size[0] * size[1] * 4, max_size=size[0] * size[1] * 4).map(
        lambda rgba: Image(*size, rgba)
    )
)


@given(images)
def test_what_was_written_is_read_again(image: Any) -> None:
    assert Image.parse(image.render()) == image


@given(images)
def test_the_png_has_the_same_pixels(image: Any) -> None:
    assert unpack_png(image.to_png()) == (image.width, image.height, image.rgba)


def test_a_windows_icon_is_a_picture_of_that_form() -> None:
    assert Image(1, 1, bytes.fromhex("112233ff")).render() == bytes.fromhex("31 20 31 0a 11 22 33 ff")


def test_a_png_comes_in_pieces_of_a_mebibyte_of_pixels_at_most() -> None:
    image = Image(1024, 640, Random(1).randbytes(1024 * 640 * 4))
    pieces = list(image.png())
    assert unpack_png(b"".join(pieces)) == (1024, 640, image.rgba)
    assert 3 <= len(pieces) <= 6
    assert max(map(len, pieces)) < 1.1 * (1 << 20)


def test_a_row_that_is_wider_than_a_piece_is_a_piece() -> None:
    row = 300_000 * 4
    image = Image(300_000, 2, Random(2).randbytes(2 * row))
    assert unpack_png(image.to_png()) == (300_000, 2, image.rgba)
    assert max(map(len, image.png())) < 1.1 * row


def test_the_message_says_what_a_picture_lacks() -> None:
    with pytest.raises(InvalidValue, match=r"2 by 1 pixels has 7 bytes \(expected 8\)"):
        Image.parse(b"2 1\n" + PIXELS[:7])
    with pytest.raises(InvalidValue, match=r"expected 1 to 2048 by 1 to 2048\)"):
        Image.parse(b"0 1\n")
