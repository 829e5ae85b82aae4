"""The errors of this library as those of a caller, Salt's above all: one sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vminterface.dom0.desired.arguments import text
from vminterface.errors import InvalidValue, LocalProtocolError, ResourcesExhausted, VMInterfaceError

if TYPE_CHECKING:
    from vminterface.channel.qrexec.client import Qrexec


@contextmanager
def raising(invalid: type[Exception], failed: type[Exception]) -> Iterator[None]:
    """Turn this library's errors into the caller's own: *invalid* for an argument, *failed* for everything else."""
    try:
        yield
    except (InvalidValue, LocalProtocolError) as error:
        raise invalid(sentence(error)) from error
    except VMInterfaceError as error:
        raise failed(sentence(error)) from error
    except (RuntimeError, MemoryError) as error:
        if (exhausted := ResourcesExhausted.of(error)) is None:
            raise
        raise failed(str(exhausted)) from error


@contextmanager
def calling(vm: Any, invalid: type[Exception], failed: type[Exception]) -> Iterator[Qrexec]:
    """Make calls into *vm*, whose name is checked here; errors are raised as by :func:`raising`.

    A VM that does not run, and that qubesd does not know, has that as its error.
    """
    # Here, as every run of salt-call reads this file.
    from vminterface.channel.qrexec.client import Qrexec
    from vminterface.dom0.inventory import vmnames

    with raising(invalid, failed), vmnames.explained(text(vm, "vm")):
        yield Qrexec()


def sentence(error: VMInterfaceError) -> str:
    """Return the message of *error*, ``path: message`` on a line of its own for each invalid value."""
    if isinstance(error, InvalidValue):
        return "\n".join(f"{f.where}: {f}" if f.where else str(f) for f in error.errors)
    return str(error)
