"""The one connection of a run to qubesd: made when it is first needed, asked no more once it did not reply.

A qubesd that hangs thus costs its deadline once, for all VMs together. Each error names the VM and the field that it is
about, also where the call that got no reply was for another VM.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from vminterface import runtime
from vminterface.errors import ConnectionLost, DeadlineExceeded, ProgramMissing, VMInterfaceError

if TYPE_CHECKING:
    from vminterface.channel.adminapi import AdminAPI

#: How many times longer than one call qubesd has to end what did not reply in time, before that is taken back.
PATIENCE = 3
#: Seconds that the list of VMs may take: it only helps to find misspelt names, and shall hold up no push.
NAMES_WITHIN = 2.0

T = TypeVar("T")


class Qubesd:
    """Calls to qubesd on behalf of VMs; nothing is opened before the first."""

    def __init__(self) -> None:
        self._api: AdminAPI | None = None
        self._lost: VMInterfaceError | None = None
        self._waited = False
        #: For those who give back, each in its turn, what may take long: qubesd serves one after the other.
        self.turn = runtime.lock()

    @functools.cached_property
    def available(self) -> bool:
        """Whether this host has a qubesd to ask."""
        from vminterface.channel import adminapi

        return adminapi.available()

    @functools.cached_property
    def expected(self) -> bool:
        """Whether this host has a qubesd, be it stopped."""
        from vminterface.channel import adminapi

        return self.available or adminapi.has_list()

    def connect(self, timeout: float | None = None) -> AdminAPI:
        """Return a client whose calls take so many seconds at most, by default the usual. Raises ProgramMissing."""
        from vminterface.channel.adminapi import AdminAPI

        return AdminAPI.open() if timeout is None else AdminAPI.open(timeout)

    def call(self, vm: str, field: str, thing: str, ask: Callable[[AdminAPI], T]) -> T:
        """Return the result of *ask*; its errors begin with *vm*, *field* and *thing*, its name in qubesd.

        Raises what *ask* does; ProgramMissing where the host has no client; at once, where an earlier call was lost.
        """
        self.check(vm)
        where = f"{vm}: {field} ({thing})"
        try:
            if self._api is None:
                self._api = self.connect()
            return ask(self._api)
        except ProgramMissing as error:
            raise type(error)(f"{vm}: {error}") from error
        except VMInterfaceError as error:
            if isinstance(error, ConnectionLost | DeadlineExceeded):
                self._lost = error
            raise type(error)(f"{where}: {str(error).removeprefix(f'{thing} of {vm}: ')}") from error

    @functools.cached_property
    def names(self) -> frozenset[str] | None:
        """The names of all VMs, asked for once; None where qubesd does not list them within NAMES_WITHIN."""
        if self._lost is not None:
            return None
        try:
            return frozenset(self.connect(NAMES_WITHIN).domains())
        except VMInterfaceError:
            return None

    def check(self, vm: str) -> None:
        """Raise the error of a call that would not be made for *vm*, because an earlier one was lost."""
        if self._lost is not None:
            raise type(self._lost)(f"{vm}: an earlier call of qubesd failed, so no other call is made")

    def wait_longer(self) -> None:
        """Once in a run, ask a qubesd that was lost again: it may have been busy with the very call that was given up.

        Attaching a network takes it longer than a call may take, and the property is stored by then.
        """
        if self._api is not None and self._lost is not None and not self._waited:
            self._lost, self._waited = None, True
            self._api.timeout *= PATIENCE
