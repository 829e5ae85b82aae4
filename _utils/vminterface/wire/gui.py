"""The Qubes GUI protocol's beginning and framing without I/O: versions, the screen's size, message headers.

Format: ``qubes-gui-protocol.h`` of Qubes gui-common, and the two programs that speak it (gui-daemon ``xside.c``,
gui-agent-linux ``vmside.c``). All numbers are little-endian. The agent sends its version; the daemon answers with the
lower of both (since 1.4) and with ``xconf``, the whole screen; then messages go both ways. Use::

    connection = Connection(DAEMON)
    connection.receive_data(socket.recv(65536))         # b"" at the end of the stream
    event = connection.next_event()                     # until it is NEED_DATA
    socket.sendall(connection.send(screen))             # a Version, an XConf or a Message

A peer that breaks the protocol makes ``next_event`` raise RemoteProtocolError, then and ever after.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from struct import Struct

from vminterface.errors import LocalProtocolError, RemoteProtocolError

_VERSION = Struct("<I")
_XCONF = Struct("<IIII")
_HEADER = Struct("<III")

#: The least minor version with an answer to the agent's version, and the least that insists on messages' lengths.
_TWO_WAY, _STRICT_LENGTHS = 4, 6
#: The X protocol's coordinates are signed words of 16 bits.
_SIDE_MAX = 32767
_DEPTHS = (8, 15, 16, 24, 30, 32)
#: KiB; the largest screen of 32 bits a pixel has 4 GiB.
_MEMORY_MAX = (_SIDE_MAX + 1) ** 2 * 4 // 1024
#: Bytes: room for the list of pages of the largest window, 16384 x 6144.
BODY_MAX = 1 << 19


class Role(enum.Enum):
    """Which end of the connection this is: the daemon shows windows, the agent in the VM has them."""

    DAEMON = "daemon"
    AGENT = "agent"


DAEMON, AGENT = Role.DAEMON, Role.AGENT


class Sentinel(enum.Enum):
    """Results of ``next_event`` that are not events."""

    NEED_DATA = "need data"
    CLOSED = "closed"


NEED_DATA, CLOSED = Sentinel.NEED_DATA, Sentinel.CLOSED


class Type(enum.IntEnum):
    """Types of messages; RESIZE and EXECUTE are obsolete."""

    KEYPRESS = 124
    BUTTON = 125
    MOTION = 126
    CROSSING = 127
    FOCUS = 128
    RESIZE = 129
    CREATE = 130
    DESTROY = 131
    MAP = 132
    UNMAP = 133
    CONFIGURE = 134
    MFNDUMP = 135
    SHMIMAGE = 136
    CLOSE = 137
    EXECUTE = 138
    CLIPBOARD_REQ = 139
    CLIPBOARD_DATA = 140
    WMNAME = 141
    KEYMAP_NOTIFY = 142
    DOCK = 143
    WINDOW_HINTS = 144
    WINDOW_FLAGS = 145
    WMCLASS = 146
    WINDOW_DUMP = 147
    CURSOR = 148
    WINDOW_DUMP_ACK = 149


_TYPES = {int(kind): kind for kind in Type}
#: Bytes of the bodies that are about configuration: five words, the keys that are pressed, two words, two strings.
_SIZES = {Type.CONFIGURE: 20, Type.KEYMAP_NOTIFY: 32, Type.WINDOW_FLAGS: 8, Type.WMNAME: 128, Type.WMCLASS: 128}


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A protocol version, *major* and *minor*, each 0 to 65535."""

    major: int
    minor: int

    def __post_init__(self) -> None:
        if not (0 <= self.major < 1 << 16 and 0 <= self.minor < 1 << 16):
            raise LocalProtocolError(
                f"{self.major}.{self.minor} is not a valid version (expected two numbers below 65536)"
            )

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"

    def render(self) -> bytes:
        """Return the four bytes."""
        return _VERSION.pack(self.major << 16 | self.minor)


#: What today's programs speak.
CURRENT = Version(1, 8)


@dataclass(frozen=True, slots=True)
class XConf:
    """The whole screen: *width* and *height* in pixels, *depth* in bits, *memory* in KiB. Raises LocalProtocolError."""

    width: int
    height: int
    depth: int
    memory: int

    def __post_init__(self) -> None:
        if error := self._error():
            raise LocalProtocolError(error)

    def _error(self) -> str:
        if not (1 <= self.width <= _SIDE_MAX + 1 and 1 <= self.height <= _SIDE_MAX):
            return f"a screen of {self.width} x {self.height} pixels (expected sides of 1 to {_SIDE_MAX})"
        if self.depth not in _DEPTHS:
            return f"a screen of {self.depth} bits a pixel (expected one of {', '.join(map(str, _DEPTHS))})"
        if not self.width * self.height * 4 // 1024 <= self.memory <= _MEMORY_MAX:
            return f"{self.memory} KiB for a screen of {self.width} x {self.height} pixels"
        return ""

    @classmethod
    def of_screen(cls, width: int, height: int, depth: int = 24) -> XConf:
        """Return the daemon's description of a root window: its width goes up to a multiple of 8, and so the memory."""
        width = (width + 7) // 8 * 8
        return cls(width, height, depth, width * height * 4 // 1024 + 1)

    @classmethod
    def parse(cls, untrusted_data: bytes) -> XConf:
        """Read the 16 bytes. Raises RemoteProtocolError."""
        if len(untrusted_data) != _XCONF.size:
            raise RemoteProtocolError(f"a screen's description of {len(untrusted_data)} bytes (expected {_XCONF.size})")
        width, height, depth, memory = _XCONF.unpack(untrusted_data)
        try:
            return cls(width, height, depth, memory)
        except LocalProtocolError as error:
            raise RemoteProtocolError(str(error)) from None

    def render(self) -> bytes:
        """Return the 16 bytes."""
        return _XCONF.pack(self.width, self.height, self.depth, self.memory)


@dataclass(frozen=True, slots=True)
class Message:
    """One message about *window* (its number at the agent's X server)."""

    type: Type
    window: int
    body: bytes = b""


Event = Version | XConf | Message


class Connection:
    """One end. *own* is the version that it speaks at most; :attr:`version` is what both agreed on, once they have."""

    def __init__(self, role: Role, own: Version = CURRENT) -> None:
        self.role = role
        self.own = own
        self.version: Version | None = None
        self._buffer = b""
        self._eof = False
        self._error: str | None = None
        self._screen_known = False
        # An agent that knows of no answer to its version gets none.
        self._wants_version = role is DAEMON or own.minor >= _TWO_WAY
        self._version_sent = False

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer, ``b""`` for the end of the stream."""
        if not data:
            self._eof = True
        elif self._eof:
            raise LocalProtocolError("data after the end of the stream")
        else:
            self._buffer += data

    def next_event(self) -> Event | Sentinel:
        """Return the next event: the peer's version, the screen (agent), a message; NEED_DATA, or CLOSED at the end.

        Raises RemoteProtocolError.
        """
        if self._error is not None:
            raise RemoteProtocolError(self._error)
        try:
            if self._wants_version:
                return self._version()
            if not self._screen_known:
                return self._screen() if self.role is AGENT else self._idle()
            return self._message()
        except RemoteProtocolError as error:
            self._error = str(error)
            raise

    def send(self, event: Event) -> bytes:
        """Return the bytes to send. Raises LocalProtocolError for what may not be sent now.

        An agent sends its own version first. A daemon sends the screen once it knows the agent's version; the version
        that both agreed on goes with it.
        """
        if isinstance(event, Version):
            if self.role is DAEMON or self._version_sent or event != self.own:
                raise LocalProtocolError("the version must be sent by the agent, once, at the beginning")
            self._version_sent = True
            return event.render()
        if isinstance(event, XConf):
            if self.role is AGENT or self.version is None or self._screen_known:
                raise LocalProtocolError("the screen must be sent by the daemon, once, after the agent's version")
            self._screen_known = True
            return (self.version.render() if self.version.minor >= _TWO_WAY else b"") + event.render()
        if not self._screen_known:
            raise LocalProtocolError("a message was sent before the screen is known")
        size = _SIZES.get(event.type, len(event.body))
        if len(event.body) != size or size > BODY_MAX or not 0 <= event.window < 1 << 32:
            raise LocalProtocolError(f"{event.type.name} of {len(event.body)} bytes for window {event.window:#x}")
        return _HEADER.pack(event.type, event.window, size) + event.body

    def _take(self, size: int, what: str) -> bytes | None:
        """Take *size* bytes out of the buffer, None if they have not all come yet."""
        if len(self._buffer) < size:
            if self._eof:
                raise RemoteProtocolError(f"stream ended after {len(self._buffer)} of the {size} bytes of {what}")
            return None
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _idle(self) -> Sentinel:
        """The daemon has the agent's version and has yet to say how large the screen is: the agent waits."""
        if self._buffer:
            raise RemoteProtocolError("the agent sent messages before the daemon sent the screen")
        return CLOSED if self._eof else NEED_DATA

    def _check_the_end(self) -> None:
        """Refuse an end of the stream before the first byte: so a daemon ends that does not take the agent's version.

        That is all that it says of it (gui-daemon ``xside.c``); nothing else makes it end here.
        """
        if not self._eof or self._buffer:
            return
        if self.role is DAEMON:
            raise RemoteProtocolError("the agent closed the connection before it sent its GUI protocol version")
        if self.version is None:
            raise RemoteProtocolError(
                f"the daemon closed the connection after being offered GUI protocol {self.own}"
                f" (expected one that speaks {self.own.major}.x)"
            )

    def _version(self) -> Version | Sentinel:
        self._check_the_end()
        data = self._take(_VERSION.size, "a version")
        if data is None:
            return NEED_DATA
        (word,) = _VERSION.unpack(data)
        found = Version(word >> 16, word & 0xFFFF)
        if self.role is AGENT and not found.major:
            # It sends no version, and these four bytes are the screen's width.
            least = Version(self.own.major, _TWO_WAY)
            raise RemoteProtocolError(
                f"the daemon chose no GUI protocol version: it is older than {least} (expected {least} or later)"
            )
        if found.major != self.own.major:
            raise RemoteProtocolError(f"GUI protocol {found} (expected {self.own.major}.x, up to {self.own})")
        if self.role is AGENT and not _TWO_WAY <= found.minor <= self.own.minor:
            least = Version(self.own.major, _TWO_WAY)
            raise RemoteProtocolError(f"the daemon chose GUI protocol {found} (expected {least} to {self.own})")
        self.version = min(found, self.own)
        self._wants_version = False
        return found

    def _screen(self) -> XConf | Sentinel:
        self._check_the_end()
        data = self._take(_XCONF.size, "a screen's description")
        if data is None:
            return NEED_DATA
        screen = XConf.parse(data)
        # Without an answer to its version an agent only knows that the daemon takes it.
        self.version = self.version or self.own
        self._screen_known = True
        return screen

    def _message(self) -> Message | Sentinel:
        if len(self._buffer) < _HEADER.size:
            if self._eof and self._buffer:
                raise RemoteProtocolError(
                    f"stream ended after {len(self._buffer)} of the {_HEADER.size} bytes of a message's header"
                )
            return CLOSED if self._eof else NEED_DATA
        word, window, untrusted_size = _HEADER.unpack_from(self._buffer)
        kind = _TYPES.get(word)
        if kind is None:
            raise RemoteProtocolError(f"a message of type {word} (expected {min(_TYPES)} to {max(_TYPES)})")
        size = _SIZES.get(kind, untrusted_size)
        # Older peers' lengths were never checked.
        if size != untrusted_size and self.version is not None and self.version.minor >= _STRICT_LENGTHS:
            raise RemoteProtocolError(f"{kind.name} of {untrusted_size} bytes (expected {size})")
        if size > BODY_MAX:
            raise RemoteProtocolError(f"{kind.name} of {size} bytes (expected at most {BODY_MAX})")
        data = self._take(_HEADER.size + size, f"{kind.name}")
        return NEED_DATA if data is None else Message(kind, window, data[_HEADER.size :])
