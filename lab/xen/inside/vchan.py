"""A vchan: two rings of bytes in memory that two domains share, by Xen's own library (``libxenvchan.h``).

One domain is the server, which gives the memory and names it in the XenStore; the other one, the client, maps it.
"""

from __future__ import annotations

import ctypes
import functools

#: Bytes of each ring, unless the server says otherwise.
RING = 131072

_LIBRARY = "libxenvchan.so.4.17"
_TAKES_SIZE = ("read", "write")
_SIGNATURES: dict[str, tuple[type, list[type]]] = {
    "server_init": (ctypes.c_void_p,
                    [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t]),
    "client_init": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p]),
    "read": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]),
    "write": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]),
    "fd_for_select": (ctypes.c_int, [ctypes.c_void_p]),
    "wait": (ctypes.c_int, [ctypes.c_void_p]),
    "data_ready": (ctypes.c_int, [ctypes.c_void_p]),
    "buffer_space": (ctypes.c_int, [ctypes.c_void_p]),
    "is_open": (ctypes.c_int, [ctypes.c_void_p]),
    "close": (None, [ctypes.c_void_p]),  # type: ignore[dict-item]
}  # fmt: skip


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(_LIBRARY, use_errno=True)
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, f"libxenvchan_{name}")
        function.restype, function.argtypes = result, arguments
    return library


class Vchan:
    """One end of a vchan. Nothing here waits: that is for poll(2) on :meth:`fileno`, then :meth:`take_event`.

    The other end is told of what is read or written only after :meth:`data` or :meth:`space` has said that nothing, or
    not enough, is left here: so these are to be asked before each wait.
    """

    def __init__(self, control: int | None, what: str) -> None:
        if not control:
            code = ctypes.get_errno()
            raise OSError(code, f"{what}: no vchan (errno {code})")
        self._control: int | None = control

    @classmethod
    def server(cls, domid: int, path: str, ring: int = RING) -> Vchan:
        """Offer one to the domain *domid* below *path* of the XenStore. Raises OSError."""
        return cls(_library().libxenvchan_server_init(None, domid, path.encode(), ring, ring), path)

    @classmethod
    def client(cls, domid: int, path: str) -> Vchan:
        """Take the one that *domid* offers below *path*. Raises OSError."""
        return cls(_library().libxenvchan_client_init(None, domid, path.encode()), path)

    def fileno(self) -> int:
        """Return the descriptor that is readable when something has happened."""
        return int(_library().libxenvchan_fd_for_select(self._control))

    def take_event(self) -> None:
        """Note that something has happened, after the descriptor was readable."""
        _library().libxenvchan_wait(self._control)

    @property
    def data(self) -> int:
        """Bytes that can be read."""
        return int(_library().libxenvchan_data_ready(self._control))

    @property
    def space(self) -> int:
        """Bytes that can be written."""
        return int(_library().libxenvchan_buffer_space(self._control))

    @property
    def is_open(self) -> bool:
        """Whether the other end is there or, on a server, still awaited. A domain that is destroyed stays open."""
        return bool(_library().libxenvchan_is_open(self._control))

    def read(self) -> bytes:
        """Return what has come."""
        size = self.data
        if size <= 0:
            return b""
        buffer = ctypes.create_string_buffer(size)
        count = int(_library().libxenvchan_read(self._control, buffer, size))
        return buffer.raw[: max(count, 0)]

    def write(self, data: bytes) -> None:
        """Write *data*, of :attr:`space` bytes at most. Raises OSError where the other end has closed."""
        if int(_library().libxenvchan_write(self._control, data, len(data))) != len(data):
            raise BrokenPipeError("the other end of the vchan is closed")

    def close(self) -> None:
        """End it; the other end can still read what was written."""
        control, self._control = self._control, None
        if control is not None:
            _library().libxenvchan_close(control)
