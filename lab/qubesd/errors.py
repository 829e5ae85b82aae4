"""The two ways in which qubesd does not do what it was asked for."""

from __future__ import annotations


class Refused(Exception):
    """An exception that the client shall see: the name of its class, and the finished sentence."""

    def __init__(self, kind: str, message: str, *arguments: object) -> None:
        self.kind = kind
        self.message = message % arguments if arguments else message
        super().__init__(self.message)

    def encoded(self) -> bytes:
        """Return the reply: class, traceback (none), sentence, a NUL after each."""
        return b"2\0" + b"".join(part.encode() + b"\0" for part in (self.kind, "", self.message))


class Unanswered(Exception):
    """The connection is closed without a word; a sentence about why is in the daemon's journal alone."""


def invalid(message: str, *arguments: object) -> Refused:
    """Return the error for a value that is not one of its type."""
    return Refused("QubesValueError", message, *arguments)


def unsuitable(message: str, *arguments: object) -> Refused:
    """Return the error for a value that the property does not take."""
    return Refused("QubesPropertyValueError", message, *arguments)


def no_such_vm(name: str) -> Refused:
    """Return the error for a VM that does not exist."""
    return Refused("QubesVMNotFoundError", "No such domain: %r", name)
