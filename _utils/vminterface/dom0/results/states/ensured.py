"""States about one object that only a service call can read: probe the VM, and do what is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vminterface.dom0.desired.arguments import text
from vminterface.errors import VMInterfaceError

if TYPE_CHECKING:
    from vminterface.channel.qrexec.client import Qrexec
    from vminterface.dom0.ensure.step import Step


def ensured(name: Any, vm: Any, probe: Callable[[Qrexec], Step], *, test: bool) -> dict[str, Any]:
    """Do the step that *probe* finds to be missing in *vm*, unless in *test* mode; return the result of state *name*.

    A VM that qubesd does not know has that as its error.
    """
    # Here, as every run of salt-call reads this file.
    from vminterface.channel.qrexec.client import Qrexec
    from vminterface.dom0.inventory import vmnames
    from vminterface.dom0.results import returns

    try:
        text(name, "name")
        with vmnames.explained(text(vm, "vm")):
            return returns.state_of_step(name, probe(Qrexec()), test=test)
    except VMInterfaceError as error:
        return returns.failure(name, error)
