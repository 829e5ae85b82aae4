"""
Push the pillar to the VMs of this host in waves, a canary group first, and give VMs back what they had.

A rollout has a name. It stops where a VM refuses its settings, or where *failures* have failed, and gives
the VMs of that wave back what they had; no VM of a later wave is touched. What it does is kept below
``/var/lib/vminterface/rollouts`` before it is done, so that one that was killed is resumed, or taken back as a whole.

``qubes_vm.push`` does the same for all VMs at once. On a master the runner ``qubes_fleet.push`` does this with hosts.

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import salt.pillar as _salt_pillar
from salt.exceptions import CommandExecutionError, SaltClientError, SaltInvocationError

try:
    # Each function imports the rest itself, as a salt-call runs one of them.
    from vminterface.dom0.desired import arguments as _arguments
    from vminterface.dom0.results import freshpillar as _freshpillar
    from vminterface.dom0.results import raising as _raising

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

if TYPE_CHECKING:
    from vminterface.dom0.desired.settings import VMSettings

__context__: dict[str, Any]
__opts__: dict[str, Any]
__pillar__: Any

__virtualname__ = "qubes_rollout"


def __virtual__() -> str | tuple[bool, str]:
    if MISSING:
        return False, f"qubes_rollout: {MISSING}; run saltutil.sync_all"
    return __virtualname__


def push(
    name: str, canary: Sequence[str] | None = None, waves: Any = "25%", failures: int = 1,
    only: Sequence[str] | None = None, again: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """
    Push the pillar to running VMs, wave by wave, and return the result of each.

    By VM its ``wave``, ``state`` (``done``, ``failed``, ``restored``, ``not_restored``, ``waiting`` for one that was
    not reached) and ``message``; of them all ``ended`` (``complete``, ``stopped``) and ``comment``. The exit status is
    1 unless it is complete.

    .. versionadded:: 0.1.0

    name
        Name of the rollout, which no former one has: letters, digits, ``_``, ``.`` and ``-``.
    canary
        List of VMs of the first wave; none without it.
    waves
        Sizes of the waves after that, numbers or parts of the other VMs, such as ``[5, 25%]``; the last one holds until
        no VM is left.
    failures
        At how many failures it stops.
    only
        List of fields (``timezone``, ``services``, ``network``, …); the others are left alone.
    again
        Whether a former rollout of that name is taken back and begun anew, in place of an error.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rollout.push zones canary='[work]' waves='[5, 25%]'
    """
    from vminterface.dom0.fleet import vmrollout
    from vminterface.dom0.fleet import waves as sizes

    def begin() -> dict[str, Any]:
        return vmrollout.begin(
            _arguments.text(name, "name"),
            _desired(only),
            canary=[] if canary is None else _arguments.texts(canary, "canary"),
            sizes=sizes.sizes_of(waves),
            failures=_failures(failures),
            again=_arguments.flag(again, "again"),
        )

    return _result(begin)


def resume(name: str, failures: int = 1, only: Sequence[str] | None = None) -> dict[str, Any]:
    """
    Go on with a rollout that was killed or has stopped: its wave begins anew, waves that are done stay as they are.

    Returns what ``push`` does; it pushes the pillar as it is now.

    .. versionadded:: 0.1.0

    name
        Name of the rollout.
    failures
        At how many failures it stops, counted from here on.
    only
        List of fields, as for ``push``.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rollout.resume zones
    """
    from vminterface.dom0.fleet import vmrollout

    return _result(
        lambda: vmrollout.resume(_arguments.text(name, "name"), _desired(only), failures=_failures(failures))
    )


def restore(name: str, missing_ok: bool = False) -> dict[str, Any]:
    """
    Give all VMs back what they had before a rollout, whether it is complete or not.

    Returns what ``push`` does. What another program has set meanwhile stays, and is reported.

    .. versionadded:: 0.1.0

    name
        Name of the rollout.
    missing_ok
        Whether a name that was never begun is accepted: ``ended`` is then ``never begun``.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rollout.restore zones
    """
    from vminterface.dom0.fleet import journal, vmrollout
    from vminterface.dom0.fleet.rollout import NEVER_BEGUN

    def run() -> dict[str, Any]:
        text, may_miss = _arguments.text(name, "name"), _arguments.flag(missing_ok, "missing_ok")
        try:
            return vmrollout.restore(text, _desired(None))
        except journal.NoSuchRollout as error:
            if not may_miss:
                raise
            return {"kind": "rollout", "rollout": text, "comment": str(error), "ended": NEVER_BEGUN, "units": {}}

    return _result(run)


def push_due(vms: Sequence[str]) -> dict[str, Any]:
    """
    Push the pillar to some running VMs, all at the same time: those that the beacon ``qubes_vm`` names.

    Returns what ``qubes_vm.push`` does. VMs that the pillar does not name are left out: names in an event are what the
    host's toolstack gave its domains, and no order of the admin.

    .. versionadded:: 0.1.0

    vms
        List of names.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rollout.push_due '[work, personal]'
    """
    from vminterface.dom0.inventory.targets import Targets
    from vminterface.dom0.push.push import push
    from vminterface.dom0.results import returns

    with _raising.raising(SaltInvocationError, CommandExecutionError):
        names = set(_arguments.texts(vms, "vms"))
        desired = [one for one in _desired(None) if one.vm in names]
        with Targets.patient_for(desired) as targets:
            outcomes = push(desired, targets)
    if not all(one.as_asked for one in outcomes):
        __context__["retcode"] = 1
    return returns.data_of(outcomes)


def _result(run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    from vminterface.dom0.fleet import vmrollout

    with _raising.raising(SaltInvocationError, CommandExecutionError):
        data = run()
    if not vmrollout.succeeded(data):
        __context__["retcode"] = 1
    return data


def _failures(value: Any) -> int:
    count = _arguments.count(value, "failures")
    if not count:
        raise SaltInvocationError("failures: expected a number from 1, got 0")
    return count


def _desired(only: Sequence[str] | None) -> list[VMSettings]:
    from vminterface.dom0.desired import settings

    source = f"the pillar of minion {__opts__['id']}"
    how = {"opts": __opts__, "context": __context__, "pillar": __pillar__, "source": source}
    pillar = _freshpillar.fresh(_salt_pillar.get_pillar, SaltClientError, **how)
    # Salt takes an invalid argument for a wrong call, and answers with the function's whole documentation.
    with _raising.raising(CommandExecutionError, CommandExecutionError):
        return settings.parse_pillar(pillar, only=only, source=source)
