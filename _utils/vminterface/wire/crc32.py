"""CRC-32 as zlib computes it, faster where libdeflate is installed: zlib's own takes longer than writing a file does.

libdeflate uses the processor's instructions for it. Nothing needs it: where it is missing, zlib does the work.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable

#: Bytes from which on a call of libdeflate is worth its cost.
LARGE = 1 << 16
_LIBRARY = "libdeflate.so.0"


def crc32(data: bytes | bytearray | memoryview, crc: int = 0) -> int:
    """Return the checksum of what *crc* is the checksum of, followed by *data* (contiguous bytes)."""
    if len(data) < LARGE:
        return zlib.crc32(data, crc)
    return _fastest()(data, crc)


@functools.cache
def _fastest() -> Callable[[bytes | bytearray | memoryview, int], int]:
    # Only a large transfer is worth importing it.
    import ctypes

    try:
        compute = ctypes.CDLL(_LIBRARY).libdeflate_crc32
    except (OSError, AttributeError):
        return zlib.crc32
    # uint32_t libdeflate_crc32(uint32_t crc, const void *buffer, size_t len), of libdeflate.h.
    compute.restype = ctypes.c_uint32
    compute.argtypes = (ctypes.c_uint32, ctypes.c_void_p, ctypes.c_size_t)

    def by_libdeflate(data: bytes | bytearray | memoryview, crc: int) -> int:
        if isinstance(data, bytes):
            return int(compute(crc, data, len(data)))
        try:
            where = (ctypes.c_char * len(data)).from_buffer(data)
        except TypeError:  # read-only, of which ctypes gives no address
            return zlib.crc32(data, crc)
        return int(compute(crc, where, len(data)))

    return by_libdeflate
