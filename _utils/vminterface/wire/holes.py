"""Which bytes of a file's content have to be written, so that blocks of zeros become holes.

A file copy carries no holes: a sparse file comes as the zeros that it reads as.
"""

from __future__ import annotations

from collections.abc import Iterator

#: Bytes that are one block of a file; no usual file system has smaller holes.
BLOCK = 4096
_ZEROS = bytes(BLOCK)


def written(data: memoryview, at: int) -> Iterator[tuple[int, memoryview]]:
    """Yield what to write of *data*, which is at byte *at* of its file: each piece with its place.

    Left out are the zeros that *data* has of a block, when these are all that it has of it. So a file whose content
    comes in pieces of any size ends up with the same holes.
    """
    size, begin, start = len(data), 0, 0
    while start < size:
        end = min(size, start + BLOCK - (at + start) % BLOCK)
        # The first byte alone distinguishes most blocks.
        if not data[start] and bytes(data[start:end]) == _ZEROS[: end - start]:
            if begin < start:
                yield at + begin, data[begin:start]
            begin = end
        start = end
    if begin < size:
        yield at + begin, data[begin:]
