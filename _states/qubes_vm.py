"""
Bring VMs to what dom0 wants of them: each setting is written, read back, and acknowledged by the VM's agent.

``qubes_vm.all_configured`` pushes the whole pillar (``qubes:defaults``, ``qubes:vms``) into all running VMs at the
same time; the others concern one VM each. Within one VM it is all or nothing: what its agent refuses, or does not
acknowledge in time, is taken back. In test mode nothing is written and ``changes`` says what would be.

A VM that is not running is no error, unless ``require_running: True`` says so.

.. code-block:: yaml

    vminterface-push:
      qubes_vm.all_configured

    work:
      qubes_vm.timezone:
        - timezone: Europe/Warsaw

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

try:
    from vminterface.dom0.states import vm as _vm
    from vminterface.dom0.states import watched as _watched

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

__virtualname__ = "qubes_vm"


def __virtual__():
    if MISSING:
        return False, f"qubes_vm: the library vminterface cannot be imported ({MISSING}); run saltutil.sync_utils"
    return __virtualname__


def _options(require_running, timeout):
    return {"require_running": require_running, "timeout": timeout, "test": __opts__["test"]}


def _source():
    return f"the pillar of minion {__opts__['id']}"


def _state_id(name):
    return __low__.get("__id__", name)


def all_configured(name, only=None, channel=None, persist=None, confirm=None):
    """
    Bring every running VM of the pillar to its settings, all at the same time.

    Each VM is a line of its own in the run's report, with its changes; the state itself says in one sentence what came
    of them all, and its ``changes`` name the VMs that had any. If anything in the pillar is wrong, every fault is
    listed with its path and nothing is written anywhere; so it is where the minion's pillar has no ``qubes:vms``. For
    no VMs that is ``{}``.

    name
        Any text; requisites refer to it.
    only
        List of topics to push, the pillar's fields: ``type``, ``updateable``, ``persistence``, ``base_template``,
        ``default_user``, ``timezone``, ``keyboard``, ``keymap``, ``debug``, ``services``, ``vm_config``, ``network``,
        ``provides_network``, ``netvm``, ``firewall``. Without it, all. ``monitors`` are none of them: no key tells
        these, ``qubes_rpc.all_monitors`` does.
    channel, persist, confirm
        Other options of the push than the pillar's: ``auto``, ``xenstore`` or ``qubesdb``; whether qubesd keeps what
        lasts; whether the agents' answers are waited for.

    .. code-block:: yaml

        zones:
          qubes_vm.all_configured:
            - only: [timezone]
    """
    options = {"channel": channel, "persist": persist, "confirm": confirm}
    how = {"source": _source(), "test": __opts__["test"]}
    return _vm.all_configured(name, __pillar__, only, options, state_id=_state_id(name), **how)


def all_reporting(name, vms=None):
    """
    Let running VMs report their memory and devices: they get the XenStore nodes that they write for that.

    A push gives them too, to the VMs of the pillar; what a VM then says is in ``qubes_vm.report``. A VM tells of its
    memory while its service ``meminfo-writer`` is on.

    name
        Any text; requisites refer to it.
    vms
        List of VM names. Without it, every VM that runs.

    .. code-block:: yaml

        reports:
          qubes_vm.all_reporting:
            - vms: [sys-usb]
    """
    return _vm.all_reporting(name, vms, test=__opts__["test"])


def configured(name, settings=None, only=None, channel=None, persist=None, confirm=None):
    """
    Bring one VM to its settings.

    name
        Name of the VM.
    settings
        What the VM shall have, as in the pillar below ``qubes:vms:<name>``. Without it, the pillar's
        ``qubes:vms:<name>`` on top of ``qubes:defaults``.
    only
        List of topics, as for ``all_configured``.
    channel, persist, confirm
        Options of the push, as for ``all_configured``.

    .. code-block:: yaml

        work:
          qubes_vm.configured:
            - settings:
                timezone: Europe/Warsaw
                services: {cups: on}
                require_running: True
    """
    options = {"channel": channel, "persist": persist, "confirm": confirm}
    how = {"source": _source(), "test": __opts__["test"]}
    return _vm.configured(name, __pillar__, settings, only, options, **how)


def timezone(name, timezone, require_running=None, timeout=None):
    """
    Give a VM its time zone.

    name
        Name of the VM.
    timezone
        Name of a zone (``Europe/Warsaw``), or ``default``: the VM keeps its own, on Qubes R4 that of dom0.
    require_running
        Whether it is an error if the VM is not running.
    timeout
        Seconds that the VM has to acknowledge.

    .. code-block:: yaml

        work:
          qubes_vm.timezone:
            - timezone: Europe/Warsaw
    """
    return _vm.fields(name, {"timezone": timezone}, **_options(require_running, timeout))


def service_enabled(name, services, require_running=None, timeout=None):
    """
    Switch services of a VM on.

    name
        Name of the VM.
    services
        Names of the services, or one name.
    require_running
        Whether it is an error if the VM is not running.
    timeout
        Seconds that the VM has to acknowledge.

    .. code-block:: yaml

        work:
          qubes_vm.service_enabled:
            - services: [cups, network-manager]
    """
    return _vm.services(name, services, True, **_options(require_running, timeout))


def service_disabled(name, services, require_running=None, timeout=None):
    """
    Switch services of a VM off.

    name
        Name of the VM.
    services
        Names of the services, or one name.
    require_running
        Whether it is an error if the VM is not running.
    timeout
        Seconds that the VM has to acknowledge.

    .. code-block:: yaml

        work:
          qubes_vm.service_disabled:
            - services: cups
    """
    return _vm.services(name, services, False, **_options(require_running, timeout))


def service_default(name, services, require_running=None, timeout=None):
    """
    Leave services to the VM's own default: their keys are removed.

    name
        Name of the VM.
    services
        Names of the services, or one name.
    require_running
        Whether it is an error if the VM is not running.
    timeout
        Seconds that the VM has to acknowledge.

    .. code-block:: yaml

        work:
          qubes_vm.service_default:
            - services: clocksync
    """
    return _vm.services(name, services, "default", **_options(require_running, timeout))


def network(
    name,
    ip=None,
    netmask=None,
    gateway=None,
    dns=None,
    mac=None,
    ip6=None,
    gateway6=None,
    reattach=None,
    none=False,
    require_running=None,
    timeout=None,
):
    """
    Give a VM the addresses of its network: ``ip`` and ``gateway`` at least, others that are not named stay as they are,
    but for the netmask.

    name
        Name of the VM.
    ip, netmask, gateway
        IPv4 addresses. Without ``netmask`` it is 255.255.255.255, as on Qubes, where a VM reaches all by its gateway.
    dns
        List of at most 16 addresses, declared whole; the first two are of IPv4.
    mac
        Hardware address.
    ip6, gateway6
        IPv6 addresses.
    reattach
        Whether qubesd attaches the network of a running VM anew where ``ip``, ``ip6`` or ``mac`` change, which
        interrupts its connections. Without it these take effect at the VM's next start. Of no effect without a qubesd,
        where they take effect at once.
    none
        The VM shall have no network: all these keys are removed.
    require_running
        Whether it is an error if the VM is not running.
    timeout
        Seconds that the VM has to acknowledge.

    .. code-block:: yaml

        work:
          qubes_vm.network:
            - ip: 10.137.0.12
            - gateway: 10.137.0.5
            - dns: [10.139.1.1, 10.139.1.2]
    """
    given = {"ip": ip, "netmask": netmask, "gateway": gateway, "dns": dns, "mac": mac, "ip6": ip6, "gateway6": gateway6}
    given["reattach"] = reattach
    return _vm.addresses(name, "network", given, none, **_options(require_running, timeout))


def network_provider(
    name,
    gateway=None,
    netmask=None,
    network=None,
    dns=None,
    gateway6=None,
    connected=None,
    none=False,
    require_running=None,
    timeout=None,
):
    """
    Let a VM provide network to others: ``gateway`` at least, others that are not named stay as they are, but for the
    netmask and the network.

    name
        Name of the VM.
    gateway, netmask, network
        IPv4 addresses, as its clients see them. Without ``netmask`` it is 255.255.255.255; without ``network`` that
        follows from the other two, and is the gateway itself for such a netmask.
    dns
        List of at most two addresses, declared whole: what clients ask there for names goes to the VM's own resolvers.
    gateway6
        IPv6 address; only with one is IPv6 forwarded.
    connected
        List of the clients, declared whole, each with ``ip`` and, where known, ``mac`` and ``vif``, the name of the
        interface to it. Without it, the clients are those that the toolstack has told the VM of; ``default`` goes back
        to these.
    none
        The VM shall provide no network: all these keys are removed.
    require_running
        Whether it is an error if the VM is not running.
    timeout
        Seconds that the VM has to acknowledge.

    .. code-block:: yaml

        sys-net:
          qubes_vm.network_provider:
            - gateway: 10.137.0.5
            - network: 10.137.0.0
            - dns: [10.139.1.1, 10.139.1.2]
            - connected:
                - {ip: 10.137.0.12, mac: "00:16:3e:5e:6c:01"}
    """
    given = {"gateway": gateway, "netmask": netmask, "network": network}
    given.update({"dns": dns, "gateway6": gateway6, "connected": connected})
    return _vm.addresses(name, "provides_network", given, none, **_options(require_running, timeout))


def keyboard(name, layout, require_running=None, timeout=None):
    """
    Give a VM its keyboard layout.

    name
        Name of the VM.
    layout
        Layout, variant and options with ``+`` between them (``pl+dvorak``), or ``default``: the VM keeps its own, on
        Qubes R4 that of qubesd. Several layouts (``us,ru``) are refused on R4, as qubesd keeps one; a running VM alone
        gets them by ``qubes_vm.configured`` with ``persist: false``.
    require_running
        Whether it is an error if the VM is not running.
    timeout
        Seconds that the VM has to acknowledge.

    .. code-block:: yaml

        work:
          qubes_vm.keyboard:
            - layout: pl+dvorak
    """
    return _vm.fields(name, {"keyboard": layout}, **_options(require_running, timeout))


def debug_mode(name, enabled=True, require_running=None, timeout=None):
    """
    Switch a VM's debug mode on or off.

    name
        Name of the VM.
    enabled
        True, False, or ``default``: the key is removed.
    require_running
        Whether it is an error if the VM is not running.
    timeout
        Seconds that the VM has to acknowledge.

    .. code-block:: yaml

        work:
          qubes_vm.debug_mode:
            - enabled: False
    """
    return _vm.fields(name, {"debug": enabled}, **_options(require_running, timeout))


def clock_synced(name, clock_vm=None, network_vm=None, vms=None):
    """
    Bring the clocks of running VMs to that of the one that keeps the time, some at a time.

    Set are those that are wrong by more than 2 s; each VM is a line of its own, with the seconds that its clock was
    ahead or behind. A VM that fails does not keep the others. In test mode nobody asks the network for the time.

    name
        Any text; requisites refer to it.
    clock_vm
        VM that asks the network for the time first (``qubes.SyncNtpClock``, where it has that); without it, dom0's time
        is the right one.
    network_vm
        VM whose network has to be up for that (``nm-online -x``).
    vms
        List of VMs; without it, all that run.

    .. code-block:: yaml

        clocks:
          qubes_vm.clock_synced:
            - clock_vm: sys-net
            - network_vm: sys-net
    """
    return _vm.clock_synced(name, clock_vm, network_vm, vms, state_id=_state_id(name), test=__opts__["test"])


def mod_watch(name, sfun=None, **kwargs):
    """
    A watched state has changed: do what the state *sfun* does once more, so that requisites and ``listen`` work.

    Not for use in SLS files.
    """
    return _watched.once_more(globals()[sfun], name, kwargs)
