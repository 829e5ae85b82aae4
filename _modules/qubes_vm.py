"""
The settings of VMs: what the pillar gives each VM, what the key store holds, and the push.

The pillar is ``qubes:defaults`` and ``qubes:vms:<name>``; the ``qubes_vm`` states do the same as states. Each function
that uses it compiles it afresh, as states do, and fails where it has errors, or no ``qubes:vms``.

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import salt.pillar as _salt_pillar
from salt.exceptions import CommandExecutionError, SaltClientError, SaltInvocationError

try:
    # What most functions need; each imports the rest itself, as a salt-call runs one of them.
    from vminterface.dom0.desired import arguments as _arguments
    from vminterface.dom0.inventory import observed as _observed
    from vminterface.dom0.inventory import targets as _targets
    from vminterface.dom0.results import freshpillar as _freshpillar
    from vminterface.dom0.results import raising as _raising

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

if TYPE_CHECKING:
    from vminterface.dom0.desired.settings import VMSettings
    from vminterface.dom0.push.outcome import Outcome

__context__: dict[str, Any]
__opts__: dict[str, Any]
__pillar__: Any

log = logging.getLogger(__name__)

__virtualname__ = "qubes_vm"

#: The exit status where a VM is not as the pillar says.
DRIFT = 3
__func_alias__ = {"set_": "set"}


def __virtual__() -> str | tuple[bool, str]:
    if MISSING:
        return False, f"qubes_vm: {MISSING}; run saltutil.sync_all, or with salt-ssh set thin_extra_mods: vminterface"
    return __virtualname__


def _errors() -> AbstractContextManager[None]:
    return _raising.raising(SaltInvocationError, CommandExecutionError)


def _desired(vm: str | None, only: Sequence[str] | None) -> list[VMSettings]:
    from vminterface.dom0.desired import settings

    vm = None if vm is None else _arguments.text(vm, "vm")
    # Salt takes an invalid argument for a wrong call, and answers with the function's whole documentation.
    with _raising.raising(CommandExecutionError, CommandExecutionError):
        return settings.parse_pillar(_pillar(), vm=vm, only=only, source=_source())


def _source() -> str:
    return f"the pillar of minion {__opts__['id']}"


def _pillar() -> dict[str, Any]:
    how = {"opts": __opts__, "context": __context__, "pillar": __pillar__, "source": _source()}
    return _freshpillar.fresh(_salt_pillar.get_pillar, SaltClientError, **how)


def _outcomes(
    run: Callable[[list[VMSettings], _targets.Targets], list[Outcome]],
    vm: str | None, only: Sequence[str] | None, test: bool, keys: bool, *, every: bool = True,
) -> dict[str, Any]:  # fmt: skip
    with _errors(), _targets.Targets() as targets:
        outcomes = run(_desired(vm, only), targets)
    data = _data(outcomes, test, keys, every)
    return data if vm is None else data[vm]


def _data(outcomes: Sequence[Outcome], test: bool, keys: bool = False, every: bool = True) -> dict[str, dict[str, Any]]:
    from vminterface.dom0.results import returns

    if not all(o.as_asked for o in outcomes):
        __context__["retcode"] = 1
    return returns.data_of(outcomes if every else returns.differing(outcomes), test=test, keys=keys)


def settings(vm: str | None = None, only: Sequence[str] | None = None, keys: bool = False) -> dict[str, Any]:
    """
    Return what the pillar wants of a VM, defaults included: ``{field: value}``, or that of every VM by its name.

    .. versionadded:: 0.1.0

    vm
        Name of a VM that has ``qubes:vms:<name>`` in the pillar.
    only
        List of fields (``timezone``, ``services``, ``network``, …); the others are left out.
    keys
        Whether to name the keys of the store, with their texts, in place of the pillar's fields.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.settings work
    """
    from vminterface.dom0.results import inwords

    with _errors():
        found = {s.vm: inwords.settings(s, keys=keys) for s in _desired(vm, only)}
    return found if vm is None else found[vm]


def get(vm: str, *fields: str, keys: bool = False) -> dict[str, Any]:
    """
    Return what a running VM has, by field, in the pillar's words: what the store holds of it, and the ``monitors`` that
    its X server shows, if it can be asked. What no pillar sets is left out.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    fields
        These alone, such as ``timezone``, ``network``, ``network:dns``, ``services:cups``, ``monitors``; one that has
        no key is left out, one that no pillar has is an error. ``monitors`` fail where they are asked for by name and
        the VM cannot be asked; the VM is not asked where others are. ``firewall``, which is not in the VM's store, is
        asked of qubesd where it is named (with *keys*: ``admin.vm.firewall``).
    keys
        Whether to name all keys that the store holds, with their texts, in place of the pillar's fields.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.get work timezone services:cups
    """
    from vminterface.dom0.results import shown

    with _errors(), _targets.Targets() as targets:
        states, errors = _observed.read_all([targets.one(vm)])
        if errors:
            raise errors[vm]
        return shown.of_vm(states[vm], fields, keys=keys)


def set_(vm: str, timeout: float | None = None, keys: bool = False, **fields: Any) -> dict[str, Any]:
    """
    Set fields of one running VM and wait until its agent has them. Returns ``{field: {"old": …, "new": …}}``.

    Fails if the VM's owner refuses or ignores one of them; the error names what was set.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    timeout
        Seconds that the VM has to acknowledge, and at most those that the store of its keys has to reply.
    keys
        Whether to name the keys of the store, with their texts, in place of the pillar's fields.
    fields
        As in the pillar below ``qubes:vms:<name>``: ``timezone=…``, ``services='{cups: on}'``,
        ``monitors=from_dom0``, …

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.set work timezone=Asia/Tokyo services='{cups: on}'
    """
    from vminterface.dom0.desired.settings import VMSettings
    from vminterface.dom0.push.push import push
    from vminterface.dom0.results import returns

    raw = {name: value for name, value in fields.items() if not name.startswith("__")}
    if not raw:
        raise SaltInvocationError("needs at least one field, such as timezone=Europe/Warsaw")
    raw["require_running"] = True
    if timeout is not None:
        raw["timeout"] = timeout
    with _errors():
        desired = [VMSettings.parse(vm, raw)]
        with _targets.Targets.patient_for(desired) as targets:
            outcome = push(desired, targets)[0]
        if outcome.error is not None:
            raise outcome.error
        if outcome.unaccepted:
            raise CommandExecutionError(outcome.comment())
    return returns.changes_of(outcome, keys=keys)


def diff(
    vm: str | None = None, only: Sequence[str] | None = None, keys: bool = False, every: bool = False
) -> dict[str, Any]:
    """
    Return what a push of the pillar would change; writes nothing. VMs without changes are left out.

    For each VM: ``ok``, ``running``, ``changes`` (``{field: {"old": …, "new": …}}``) and ``comment``. VMs that have
    ``monitors`` in the pillar are asked what their X server shows.

    .. versionadded:: 0.1.0

    vm
        Name of a VM that has ``qubes:vms:<name>`` in the pillar; without it, all of them.
    only
        List of fields (``timezone``, ``services``, ``network``, …); the others are left alone.
    keys
        Whether to name the keys of the store, with their texts, in place of the pillar's fields.
    every
        Whether VMs without changes are included, as is one that is requested by name.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.diff work
        salt 'dom0-*' qubes_vm.diff
    """
    from vminterface.dom0.push.push import diff

    return _outcomes(diff, vm, only, True, keys, every=bool(every) or vm is not None)


def drift(vm: str | None = None, only: Sequence[str] | None = None, keys: bool = False) -> dict[str, Any]:
    """
    Return the fields that differ from the pillar; VMs without differences are omitted. The store, or qubesd
    (``persistent:``), may have been changed by anybody, the VM itself included.

    By VM and field: ``store`` and ``pillar``, and ``owner`` (``refuse`` or ``ignore``) where it stays so because the
    VM's owner does not accept it. A VM that cannot be compared has ``error`` alone, with one sentence,
    and until 1.0 the same as ``fault``, its former name; the exit status is then 1. Where there is drift it is 3, as
    that of the command's ``diff``.

    .. versionadded:: 0.1.0

    vm
        Name of a VM that has ``qubes:vms:<name>`` in the pillar; without it, all of them.
    only
        List of fields (``timezone``, ``services``, ``network``, …); the others are left alone.
    keys
        Whether to name the keys of the store, with their texts, in place of the pillar's fields.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.drift
    """
    from vminterface.dom0.push.push import diff
    from vminterface.dom0.results import returns

    with _errors(), _targets.Targets() as targets:
        outcomes = diff(_desired(vm, only), targets)
    drifted = returns.drift_of(outcomes, keys=keys)
    if drifted:
        __context__["retcode"] = DRIFT
    if not all(o.ok for o in outcomes):
        __context__["retcode"] = 1
    return drifted


def summary(timeout: float = 10.0) -> dict[str, Any]:
    """
    Return the record of this host, which everything about a fleet is made of: how each VM is, since when and why.

    By VM its ``state`` (``converged``, ``drifted``, ``refused``, ``hung``, ``failed``, ``not_running``,
    ``not_in_pillar``, ``unknown``), ``conditions``, ``drift``, ``agent``, ``memory`` and when it was last ``pushed``
    and ``acknowledged``; and of them all ``counts``, ``pillar`` and ``error``: ``docs/fleet.md`` has all of it. What
    fails, a pillar that is wrong too, is a part of it. The exit status is 3 where VMs have drifted and nothing else is
    wrong, 1 where anything is.

    .. versionadded:: 0.1.0

    timeout
        Seconds, more than 0 and at most 3600, that the stores have for all of it.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.summary
        salt --out=json --static 'dom0-*' qubes_vm.summary
    """
    from vminterface.deadline import Deadline
    from vminterface.dom0.desired.settings import parse_pillar
    from vminterface.dom0.fleet.inspect import host_record

    with _errors():
        deadline = Deadline.after(_arguments.seconds(timeout, "timeout"))
        one = host_record(
            lambda: parse_pillar(_pillar(), source=_source()), lambda: _targets.Targets(deadline=deadline)
        )
    if not one.well:
        __context__["retcode"] = DRIFT if one.only_drifted else 1
    return one.as_data()


def push(vm: str | None = None, only: Sequence[str] | None = None, keys: bool = False) -> dict[str, Any]:
    """
    Apply the pillar to the running VMs, all at the same time, and wait until their agents acknowledge it, and until
    their X servers show its ``monitors``.

    For each VM: ``ok``, ``running``, ``changes`` (``{field: {"old": …, "new": …}}``) and ``comment``. One VM that
    fails does not keep the others; the exit status is then 1. Where the VM's owner does not accept a setting there is
    also ``unaccepted``: ``refuse`` or ``ignore`` by setting; all others are pushed. ``ok`` is then false, unless it is
    ignored or the pillar's ``optional`` has it.

    .. versionadded:: 0.1.0

    vm
        Name of a VM that has ``qubes:vms:<name>`` in the pillar; without it, all of them.
    only
        List of fields (``timezone``, ``services``, ``network``, …); the others are left alone.
    keys
        Whether to name the keys of the store, with their texts, in place of the pillar's fields.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.push
        salt-call qubes_vm.push work only='[timezone]'
    """
    from vminterface.dom0.push.push import push

    return _outcomes(push, vm, only, False, keys)


def sync_clocks(
    clock_vm: str | None = None, network_vm: str | None = None, vms: Sequence[str] | None = None, test: bool = False
) -> dict[str, Any]:
    """
    Bring the clocks of running VMs to that of the one that keeps the time, some at a time.

    For each VM: ``ok``, ``running``, ``changes`` (how many seconds its clock was ahead or behind) and ``comment``. One
    VM that fails does not keep the others; the exit status is then 1. Left out are VMs that dom0's policy does not let
    ask for the time, as those of Whonix; such a VM has ``left_out`` with the reason.

    .. versionadded:: 0.1.0

    clock_vm
        VM that asks the network for the time first; without it, dom0's own time.
    network_vm
        VM whose network has to be up for that.
    vms
        List of names; without it, all that run.
    test
        Only read the clocks; no VM asks the network for the time.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.sync_clocks sys-net network_vm=sys-net
    """
    from vminterface.channel.qrexec.client import Qrexec
    from vminterface.dom0.results import clocks

    with _errors():
        outcomes = clocks.clock_synced(Qrexec(), clock_vm=clock_vm, network_vm=network_vm, vms=vms, test=bool(test))
    return _data(outcomes, bool(test))


def vms() -> dict[str, dict[str, Any]]:
    """
    Return the running VMs by name: ``domid``, None where only its QubesDB knows the VM, and of its agent the
    ``version`` and the ``settings`` that it applies; ``agent`` is None where none is in work. Where the VM's owner does
    not accept some, the agent has also ``unaccepted``: by setting, ``owner`` (``refuse`` or ``ignore``) and ``reason``.
    A VM whose own QubesDB cannot be read is left out, with a warning; the exit status is then 1.

    .. versionadded:: 0.1.0

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.vms
    """
    from vminterface.dom0.results import returns

    with _errors(), _targets.Targets() as targets:
        domids = targets.running()
        states, errors = _observed.observe(targets, domids)
    for error in errors.values():
        log.warning("qubes_vm.vms: %s; left out", error)
        __context__["retcode"] = 1
    return {vm: {"domid": domids[vm], "agent": returns.agent_of(states[vm])} for vm in sorted(states)}


def export(vms: Sequence[str] | None = None, path: str | None = None) -> str:
    """
    Return a pillar file of what VMs have now, with comments: a push of it changes nothing. It is the first pillar of a
    host that has VMs already. On Qubes R4 it has what qubesd keeps of them, running or not.

    What a pillar cannot express is a comment with the reason. So is a VM that cannot be read, with a warning; the exit
    status is then 1.

    .. versionadded:: 0.1.0

    vms
        List of names; without it, all that run, and all that qubesd knows.
    path
        File of the minion to write it to, which must not be there yet; the path is then returned.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.export path=/srv/pillar/exported.sls
        salt-call qubes_vm.export vms='[work]'
    """
    from vminterface.dom0.export import export, render

    with _errors(), _targets.Targets() as targets:
        path = None if path is None else _arguments.text(path, "path")
        exports = export.export(targets, () if vms is None else _arguments.texts(vms, "vms"))
    for error in [one.error for one in exports if one.error and not one.expected]:
        log.warning("qubes_vm.export: %s; left out", error)
        __context__["retcode"] = 1
    text = render.as_yaml(exports)
    if path is None:
        return text
    try:
        export.write_new(path, text)
    except (OSError, ValueError) as error:
        raise CommandExecutionError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from None
    return path


def _reported(vm: str | None, *parts: str) -> dict[str, Any]:
    from vminterface.dom0.reports import devices

    with _errors(), _targets.Targets() as targets:
        found = devices.read(targets, None if vm is None else [vm], parts)
    data = {name: devices.as_data(report, parts) for name, report in found.items()}
    return data if vm is None else data[vm]


def report(vm: str | None = None) -> dict[str, Any]:
    """
    Return the report of a running VM, or of every one by its name: ``memory``, ``block_devices``,
    ``usb_devices``, and ``warnings`` about invalid parts of the report.

    ``--out=vm_report`` shows it as a table with bars of memory.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.report
        salt-call --out=vm_report qubes_vm.report
    """
    return _reported(vm, "memory", "block_devices", "usb_devices")


def memory(vm: str | None = None) -> dict[str, Any]:
    """
    Return the memory of a running VM, or of every one by its name, in kB: ``used_kb`` (swap included),
    ``swap_used_kb`` and ``maximum_kb`` (with memory hotplug what can be plugged in); None where it does not report.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.memory work
    """
    return _reported(vm, "memory")


def block_devices(vm: str | None = None) -> dict[str, Any]:
    """
    Return the block devices that a running VM, or every one by its name, offers to others.

    Each by its name: ``port`` (``sys-usb:sda``) and ``device_id`` as Qubes R4.3 writes them in assignments, ``desc``,
    ``size`` in bytes, ``mode`` (``r`` or ``w``), ``device``, ``parent``, and in ``assumed`` keys that are missing or
    malformed, so that a value is assumed. ``device_id`` is None where qubesd has none.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.block_devices sys-usb
    """
    return _reported(vm, "block_devices")


def usb_devices(vm: str | None = None) -> dict[str, Any]:
    """
    Return the USB devices that a running VM, or every one by its name, offers to others.

    Each by its name: ``port`` (``sys-usb:2-1.4``) and ``device_id`` as Qubes R4.3 writes them in assignments, ``ids``
    (``VID:PID``), ``description``, ``usb_version``, ``interfaces``, ``connected_to``, and in ``assumed`` the keys that
    are missing or malformed, so that a value is assumed. ``device_id`` is None where qubesd has none.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.usb_devices sys-usb
    """
    return _reported(vm, "usb_devices")
