"""What connections to key stores have in common: a fault in the middle of an exchange closes them for good."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from vminterface.errors import ConnectionLost, VMInterfaceError


class StoreConnection(ABC):
    """A connection to the store at *path*."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._closed_because: str | None = None

    @abstractmethod
    def _release(self) -> None:
        """Give the socket or device back; called once."""

    def close(self, because: str = "it was closed") -> None:
        """End the connection; every later call raises ConnectionLost with the reason given first."""
        if self._closed_because is None:
            self._closed_because = because
            self._release()

    def _check_open(self) -> None:
        if self._closed_because is not None:
            raise ConnectionLost(f"{self.path}: the connection is closed: {self._closed_because}")

    def _guarded(self, step: Callable[..., None], *arguments: object) -> None:
        """Do *step*; if it does not end well, close the connection."""
        try:
            step(*arguments)
        except VMInterfaceError as error:
            self.close(str(error))
            raise
        except OSError as error:
            self.close(error.strerror or str(error))
            raise ConnectionLost(f"{self.path}: {error.strerror or error}") from None
        except BaseException as error:
            # An interrupt leaves answers on their way.
            self.close(f"interrupted by {type(error).__name__}")
            raise
