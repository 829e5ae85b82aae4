"""
What dom0 tells its VMs: the settings that the pillar gives each VM, what the store holds of them, and the push.

The pillar is ``qubes:defaults`` and ``qubes:vms:<name>``; ``qubes_vm`` states say the same as states. Each function
that uses it compiles it afresh, as states do, and fails where it has errors, or no ``qubes:vms``.

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

import logging

import salt.pillar as _salt_pillar
from salt.exceptions import CommandExecutionError, SaltClientError, SaltInvocationError

try:
    from vminterface.channel import qrexec as _qrexec
    from vminterface.dom0 import arguments as _arguments
    from vminterface.dom0 import push as _push
    from vminterface.dom0 import reports as _reports
    from vminterface.dom0 import returns as _returns
    from vminterface.dom0 import settings as _settings
    from vminterface.dom0 import state as _state
    from vminterface.dom0 import targets as _targets
    from vminterface.dom0.steps import clocks as _clocks
    from vminterface.dom0.steps import display as _display

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

log = logging.getLogger(__name__)

__virtualname__ = "qubes_vm"

#: The exit status where a VM is not as the pillar says.
DRIFT = 3
__func_alias__ = {"set_": "set"}


def __virtual__():
    if MISSING:
        return False, f"qubes_vm: the library vminterface cannot be imported ({MISSING}); run saltutil.sync_utils"
    return __virtualname__


def _errors():
    return _returns.raising(SaltInvocationError, CommandExecutionError)


def _wanted(vm, only):
    vm = None if vm is None else _arguments.text(vm, "vm")
    # Salt takes an invalid argument for a wrong call, and answers with the function's whole documentation.
    with _returns.raising(CommandExecutionError, CommandExecutionError):
        return _settings.parse_pillar(_pillar(), vm=vm, only=only, source=_source())


def _source():
    return f"the pillar of minion {__opts__['id']}"


def _pillar():
    """
    The pillar as it is now. A minion that serves a master keeps in memory what it was when somebody refreshed it last,
    so it is compiled afresh, as ``state.*`` does; ``salt-call`` and a run of states have just done so.
    """
    if __opts__.get("__cli") == "salt-call" or "fileclient" in __context__:
        return __pillar__.value()
    compiler = _salt_pillar.get_pillar(
        __opts__, __opts__["grains"], __opts__["id"], __opts__["saltenv"], pillarenv=__opts__.get("pillarenv")
    )
    try:
        return compiler.compile_pillar()
    except SaltClientError as error:
        raise CommandExecutionError(f"{_source()}: the master did not compile it: {error}") from error
    finally:
        getattr(compiler, "destroy", lambda: None)()


def _outcomes(run, vm, only, test):
    with _errors(), _targets.Targets() as targets:
        outcomes = run(_wanted(vm, only), targets)
    data = _data(outcomes, test)
    return data if vm is None else data[vm]


def _data(outcomes, test):
    if not all(o.ok for o in outcomes):
        __context__["retcode"] = 1
    return _returns.data_of(outcomes, test=test)


def settings(vm=None, only=None):
    """
    Return what the pillar wants of a VM, defaults included: ``{field: value}``, or that of every VM by its name.

    vm
        Name of a VM that has ``qubes:vms:<name>`` in the pillar.
    only
        List of topics (``timezone``, ``services``, ``network``, …); the others are left out.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.settings work
    """
    with _errors():
        found = {s.vm: _said(s) for s in _wanted(vm, only)}
    return found if vm is None else found[vm]


def _said(settings):
    monitors = {} if settings.monitors is None else {"monitors": _display.in_words(settings.monitors)}
    netvm = {} if settings.netvm is None else {"netvm": settings.netvm or "none"}
    firewall = {} if settings.firewall is None else settings.firewall.in_words()
    return {**_returns.fields(settings.desired), **monitors, **netvm, **firewall}


def get(vm, *fields):
    """
    Return what the store holds of a running VM, by field, in the pillar's words.

    vm
        Name of the VM.
    fields
        These alone, such as ``timezone``, ``network:ip``, ``services:cups``; one that has no key is left out.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.get work timezone services:cups
    """
    with _errors(), _targets.Targets() as targets:
        states, faults = _state.read_all([targets.one(vm)])
        if faults:
            raise faults[vm]
        texts = states[vm].texts
    return {f: text for f, text in _returns.fields(texts).items() if not fields or f in fields}


def set_(vm, timeout=None, **fields):
    """
    Set fields of one running VM and wait until its agent has them. Returns ``{field: {"old": …, "new": …}}``.

    vm
        Name of the VM.
    timeout
        Seconds that the VM has to acknowledge.
    fields
        As in the pillar below ``qubes:vms:<name>``: ``timezone=…``, ``services='{cups: on}'``, …

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.set work timezone=Asia/Tokyo services='{cups: on}'
    """
    raw = {name: value for name, value in fields.items() if not name.startswith("__")}
    if not raw:
        raise SaltInvocationError("expected at least one field, such as timezone=Europe/Warsaw")
    raw["require_running"] = True
    if timeout is not None:
        raw["timeout"] = timeout
    with _errors(), _targets.Targets() as targets:
        outcome = _push.push([_settings.VMSettings.parse(vm, raw)], targets)[0]
        if outcome.error is not None:
            raise outcome.error
    return _returns.changes_of(outcome)


def diff(vm=None, only=None):
    """
    Return what a push of the pillar would change; writes nothing.

    For each VM: ``ok``, ``running``, ``changes`` (``{field: {"old": …, "new": …}}``) and ``comment``. Of the pillar's
    ``monitors``, which no key tells, it says nothing.

    vm
        Name of a VM that has ``qubes:vms:<name>`` in the pillar; without it, all of them.
    only
        List of topics (``timezone``, ``services``, ``network``, …); the others are left alone.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.diff work
    """
    return _outcomes(_push.diff, vm, only, True)


def drift(vm=None, only=None):
    """
    Return where a VM is not as the pillar says, those that are left out: what the store, or qubesd (``persistent:``),
    holds in place of the pillar's value, whoever wrote it, the VM itself included.

    By VM and field: ``store`` and ``pillar``. A VM that cannot be compared has ``fault`` alone, with one sentence; the
    exit status is then 1. Where there is drift it is 3, as that of the command's ``diff``.

    vm
        Name of a VM that has ``qubes:vms:<name>`` in the pillar; without it, all of them.
    only
        List of topics (``timezone``, ``services``, ``network``, …); the others are left alone.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.drift
    """
    with _errors(), _targets.Targets() as targets:
        outcomes = _push.diff(_wanted(vm, only), targets)
    drifted = _returns.drift_of(outcomes)
    if drifted:
        __context__["retcode"] = DRIFT
    _data(outcomes, True)
    return drifted


def push(vm=None, only=None):
    """
    Bring running VMs to what the pillar says, all at the same time, and wait until their agents have it; but for its
    ``monitors``, which no key tells: they go by the state ``qubes_rpc.all_monitors``.

    For each VM: ``ok``, ``running``, ``changes`` (``{field: {"old": …, "new": …}}``) and ``comment``. One VM that
    fails does not keep the others; the exit status is then 1.

    vm
        Name of a VM that has ``qubes:vms:<name>`` in the pillar; without it, all of them.
    only
        List of topics (``timezone``, ``services``, ``network``, …); the others are left alone.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.push
        salt-call qubes_vm.push work only='[timezone]'
    """
    return _outcomes(_push.push, vm, only, False)


def sync_clocks(clock_vm=None, network_vm=None, vms=None, test=False):
    """
    Bring the clocks of running VMs to that of the one that keeps the time, some at a time.

    For each VM: ``ok``, ``running``, ``changes`` (how many seconds its clock was ahead or behind) and ``comment``. One
    VM that fails does not keep the others; the exit status is then 1.

    clock_vm
        VM that asks the network for the time first; without it, dom0's own time.
    network_vm
        VM whose network has to be up for that.
    vms
        List of names; without it, all that run.
    test
        Only look; nobody asks the network.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.sync_clocks sys-net network_vm=sys-net
    """
    with _errors():
        outcomes = _clocks.clock_synced(
            _qrexec.Qrexec(), clock_vm=clock_vm, network_vm=network_vm, vms=vms, test=bool(test)
        )
    return _data(outcomes, bool(test))


def vms():
    """
    Return the running VMs by name: ``domid``, None where only its QubesDB knows the VM, and of its agent the
    ``version`` and the ``settings`` that it applies; ``agent`` is None where none is in work. A VM whose own QubesDB
    cannot be read is left out, with a warning; the exit status is then 1.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.vms
    """
    with _errors(), _targets.Targets() as targets:
        domids = targets.running()
        states, faults = _state.observe(targets, domids)
    for error in faults.values():
        log.warning("qubes_vm.vms: %s; left out", error)
        __context__["retcode"] = 1
    return {vm: {"domid": domids[vm], "agent": _agent(states[vm].agent)} for vm in sorted(states)}


def _agent(announced):
    return None if announced is None else {"version": announced.version, "settings": sorted(announced.settings)}


def _reported(vm, parts):
    with _errors(), _targets.Targets() as targets:
        found = _reports.read(targets, None if vm is None else [vm], parts)
    data = {name: _reports.as_data(report, parts) for name, report in found.items()}
    return data if vm is None else data[vm]


def report(vm=None):
    """
    Return what a running VM, or every one by its name, says of itself: ``memory``, ``block_devices``,
    ``usb_devices``; and ``warnings`` about what it says that is not as it has to be and was left out.

    ``--out=vm_report`` shows it as a table with bars of memory.

    vm
        Name of the VM.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.report
        salt-call --out=vm_report qubes_vm.report
    """
    return _reported(vm, _reports.PARTS)


def memory(vm=None):
    """
    Return the memory of a running VM, or of every one by its name, in kB: ``used_kb`` (swap included),
    ``swap_used_kb`` and ``maximum_kb``; None where it says nothing.

    vm
        Name of the VM.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.memory work
    """
    return _reported(vm, [_reports.MEMORY])


def block_devices(vm=None):
    """
    Return the block devices that a running VM, or every one by its name, offers to others.

    Each by its name: ``desc``, ``size`` in bytes, ``mode`` (``r`` or ``w``), ``device`` and ``parent``.

    vm
        Name of the VM.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.block_devices sys-usb
    """
    return _reported(vm, [_reports.BLOCK])


def usb_devices(vm=None):
    """
    Return the USB devices that a running VM, or every one by its name, offers to others.

    Each by its name: ``ids`` (``VID:PID``), ``description``, ``usb_version``, ``interfaces`` and ``connected_to``.

    vm
        Name of the VM.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_vm.usb_devices sys-usb
    """
    return _reported(vm, [_reports.USB])
