"""PNG files with the standard library alone: every colour type and filter that icons have, and nothing damaged."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

import pytest

from tests.support import seeds
from vminterface.errors import InvalidValue, VMInterfaceError
from vminterface.values.image import ICON, Image, Limits
from vminterface.vm.handlers.display.pngdecode import SIGNATURE, decode

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, colour: int, raw: bytes, *extra: bytes, depth: int = 8, form: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, form, 0, 0)
    middle = b"".join(extra)
    return SIGNATURE + chunk(b"IHDR", header) + middle + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def paeth(left: int, up: int, corner: int) -> int:
    return min((left, up, corner), key=lambda value: abs(left + up - corner - value))


def filtered(rows: list[bytes], step: int, kinds: list[int]) -> bytes:
    """Filter *rows* as an encoder does, from the values that the format defines."""
    result = bytearray()
    above = bytes(len(rows[0]))
    for row, kind in zip(rows, kinds, strict=True):
        result.append(kind)
        for place, value in enumerate(row):
            left = row[place - step] if place >= step else 0
            corner = above[place - step] if place >= step else 0
            up = above[place]
            guess = (0, left, up, (left + up) // 2, paeth(left, up, corner))[kind]
            result.append((value - guess) % 256)
        above = row
    return bytes(result)


@pytest.mark.parametrize("colour", CHANNELS)
@pytest.mark.parametrize("kinds", [[0] * 5, [1] * 5, [2] * 5, [3] * 5, [4] * 5, [4, 2, 3, 1, 0]])
def test_every_filter_is_undone(colour: int, kinds: list[int]) -> None:
    numbers = random.Random(7)
    step = CHANNELS[colour]
    rows = [numbers.randbytes(6 * step) for _ in kinds]
    palette = numbers.randbytes(3 * 256)
    extra = [chunk(b"PLTE", palette)] if colour == 3 else []
    plain = b"".join(rows)
    as_rgba: dict[int, Callable[[bytes], bytes]] = {
        0: lambda p: p * 3 + b"\xff",
        2: lambda p: p + b"\xff",
        3: lambda p: palette[3 * p[0] : 3 * p[0] + 3] + b"\xff",
        4: lambda p: p[:1] * 3 + p[1:],
        6: lambda p: p,
    }
    expected = bytearray()
    for place in range(0, len(plain), step):
        pixel = plain[place : place + step]
        expected += as_rgba[colour](pixel)
    image = decode(png(6, len(kinds), colour, filtered(rows, step, kinds), *extra), ICON)
    assert image == Image(6, len(kinds), bytes(expected))


def test_what_we_write_is_read_again() -> None:
    image = Image(3, 2, random.Random(1).randbytes(24))
    assert decode(image.to_png(), ICON) == image


def test_transparent_colours_are_transparent() -> None:
    palette = chunk(b"PLTE", bytes([1, 2, 3, 4, 5, 6]))
    image = decode(png(2, 1, 3, b"\0\0\1", palette, chunk(b"tRNS", b"\x80")), ICON)
    assert image.rgba == bytes([1, 2, 3, 0x80, 4, 5, 6, 0xFF])
    assert decode(png(2, 1, 0, b"\0\7\x08", chunk(b"tRNS", b"\0\7")), ICON).rgba == bytes([7, 7, 7, 0, 8, 8, 8, 255])
    clear = chunk(b"tRNS", b"\0\1\0\2\0\3")
    assert decode(png(2, 1, 2, b"\0\1\2\3\3\2\1", clear), ICON).rgba == bytes([1, 2, 3, 0, 3, 2, 1, 255])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a PNG file"),
        (b"GIF89a", "not a PNG file"),
        (SIGNATURE, "damaged"),
        (SIGNATURE + chunk(b"IEND", b""), "no header"),
        (png(0, 1, 6, b""), "0 by 1 pixels"),
        (png(2049, 1, 6, b""), "2049 by 1 pixels"),
        (png(1, 2**32 - 1, 6, b""), "by 4294967295 pixels"),
        (png(1, 1, 0, b"\0\0", depth=16), "a format that needs"),
        (png(1, 1, 5, b"\0\0"), "a format that needs"),
        (png(1, 1, 0, b"\0\0", form=1), "a format that needs"),
        (png(1, 1, 0, b"\5\0"), "unknown filter"),
        (png(1, 2, 0, b"\0\0"), "cut short"),
        (png(1, 1, 3, b"\0\0"), "palette"),
        (png(1, 1, 3, b"\0\1", chunk(b"PLTE", b"\1\2\3")), "palette"),
    ],
)
def test_what_is_no_such_file_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidValue, match=reason):
        decode(data, ICON)


def test_a_file_that_breaks_off_is_refused_at_every_byte() -> None:
    data = Image(2, 2, bytes(range(16))).to_png()
    for length in range(len(data)):
        with pytest.raises(InvalidValue):
            decode(data[:length], ICON)


def test_a_small_file_cannot_become_a_large_picture() -> None:
    data = png(10, 10, 6, bytes(50_000_000))
    assert len(data) < 100_000
    assert len(decode(data, Limits(10, 10)).rgba) == 400


@pytest.mark.fuzz
def test_damaged_files_are_refused_or_give_their_pixels() -> None:
    numbers = seeds.chance("damaged pictures")
    runs = seeds.rounds(100_000)
    pictures = [Image(2, 2, bytes(range(16))).to_png(), png(2, 1, 3, b"\0\0\1", chunk(b"PLTE", bytes(6)))]
    for _ in range(runs):
        data = bytearray(numbers.choice(pictures))
        for _ in range(numbers.randint(1, 3)):
            data[numbers.randrange(len(data))] = numbers.randrange(256)
        if numbers.random() < 0.9:  # as if whoever damaged it knew the checks
            data = bytearray(_repaired(bytes(data)))
        try:
            image = decode(bytes(data), Limits(64, 64))
        except VMInterfaceError:
            continue
        assert len(image.rgba) == 4 * image.width * image.height


def _repaired(data: bytes) -> bytes:
    """Return *data* with right checks of all chunks, as far as their lengths make sense."""
    result, place = data[:8], 8
    while place + 12 <= len(data):
        length = min(int.from_bytes(data[place : place + 4], "big"), len(data) - place - 12)
        result += chunk(data[place + 4 : place + 8], data[place + 8 : place + 8 + length])
        place += 12 + length
    return result
