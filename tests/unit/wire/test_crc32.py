"""The checksum of a file copy, by libdeflate or by zlib."""

from __future__ import annotations

import ctypes
import random
import zlib
from collections.abc import Iterator

import pytest

from vminterface.wire import crc32

SIZES = (0, 1, crc32.LARGE - 1, crc32.LARGE, crc32.LARGE + 7, 1 << 20)


@pytest.fixture(params=["libdeflate", "zlib alone"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "zlib alone":
        monkeypatch.setattr(crc32, "_LIBRARY", "libno-such-thing.so.0")
    else:
        ctypes.CDLL(crc32._LIBRARY)  # of tools/system-packages
    crc32._fastest.cache_clear()
    yield
    crc32._fastest.cache_clear()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("start", [0, 1, 0xFFFFFFFF])
def test_it_is_the_checksum_that_zlib_computes_for_any_kind_of_bytes(library: None, size: int, start: int) -> None:
    data = random.Random(size).randbytes(size)
    desired = zlib.crc32(data, start)
    for same in (data, bytearray(data), memoryview(data), memoryview(bytearray(data))):
        assert crc32.crc32(same, start) == desired


def test_a_checksum_goes_on_over_pieces_and_slices(library: None) -> None:
    data = random.Random(1).randbytes(3 * crc32.LARGE)
    view = memoryview(bytearray(data))
    crc = crc32.crc32(view[:5])
    crc = crc32.crc32(view[5 : 2 * crc32.LARGE], crc)
    crc = crc32.crc32(view[2 * crc32.LARGE :], crc)
    assert crc == zlib.crc32(data)


def test_libdeflate_is_what_computes_large_ones_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    ctypes.CDLL(crc32._LIBRARY)
    crc32._fastest.cache_clear()
    assert crc32._fastest() is not zlib.crc32
