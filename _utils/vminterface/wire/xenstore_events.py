"""The messages between the two ends of a XenStore connection, as ``wire.xenstore`` takes and gives it."""

from __future__ import annotations

from enum import Enum
from typing import Final

from vminterface.value import Value
from vminterface.wire.xenstore_messages import Op


class Sentinel(Enum):
    """Results of ``next_event`` that are not events."""

    NEED_DATA = "need data"


NEED_DATA = Sentinel.NEED_DATA


class Request(Value):
    """A client asks. *arguments* are the strings after the path: watch token, permissions, domids, offset,
    ``T``/``F`` to commit or abort. *request_id* is given by the connection that sends, and is 0 until then.
    """

    __slots__ = ("arguments", "op", "path", "request_id", "transaction", "value")

    def __init__(
        self,
        op: Op,
        path: str = "",
        value: bytes = b"",
        arguments: tuple[str, ...] = (),
        transaction: int = 0,
        request_id: int = 0,
    ) -> None:
        self.op: Final = op
        self.path: Final = path
        self.value: Final = value
        self.arguments: Final = arguments
        self.transaction: Final = transaction
        self.request_id: Final = request_id


class BadRequest(Value):
    """A well-framed request that makes no sense; the server answers with *error* (``EINVAL``, ``ENOSYS``)."""

    __slots__ = ("error", "reason", "request_id", "transaction")

    def __init__(self, request_id: int, transaction: int, error: str, reason: str) -> None:
        self.request_id: Final = request_id
        self.transaction: Final = transaction
        self.error: Final = error
        self.reason: Final = reason


class Reply(Value):
    """A server's good answer. *value*: of READ and CONTROL. *strings*: of all other operations that answer with
    more than ``OK``; for DIRECTORY_PART the generation, names, and a last "" at the end of the names.
    """

    __slots__ = ("op", "request_id", "strings", "transaction", "value")

    def __init__(
        self, request_id: int, op: Op, value: bytes = b"", strings: tuple[str, ...] = (), transaction: int = 0
    ) -> None:
        self.request_id: Final = request_id
        self.op: Final = op
        self.value: Final = value
        self.strings: Final = strings
        self.transaction: Final = transaction


class ErrorReply(Value):
    """A server's refusal, *error* being an errno's name (``ENOENT``)."""

    __slots__ = ("error", "request_id", "transaction")

    def __init__(self, request_id: int, error: str, transaction: int = 0) -> None:
        self.request_id: Final = request_id
        self.error: Final = error
        self.transaction: Final = transaction


class WatchEvent(Value):
    """*path* changed, according to the watch that was registered with *token*."""

    __slots__ = ("path", "token")

    def __init__(self, path: str, token: str) -> None:
        self.path: Final = path
        self.token: Final = token


class ConnectionClosed(Value):
    """The stream ended between two messages."""

    __slots__ = ()


Event = Request | BadRequest | Reply | ErrorReply | WatchEvent | ConnectionClosed
