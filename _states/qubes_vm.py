"""
Apply the pillar's settings to VMs: each is written, read back, and acknowledged by the VM's agent.

``qubes_vm.all_configured`` pushes the whole pillar (``qubes:defaults``, ``qubes:vms``) into all running VMs at the
same time; the others concern one VM each. Within one VM it is all or nothing: what its agent refuses, or does not
acknowledge in time, is restored. In test mode nothing is written and ``changes`` has what would change.

A setting that the VM's owner does not accept (``agent.conf`` in the VM) is left out, and all else is pushed. The state
then fails, unless the owner chose ``ignore`` or the pillar's ``optional`` names it; test mode returns the same.

A VM that is not running is an error only with ``require_running: True``.

.. code-block:: yaml

    vminterface-push:
      qubes_vm.all_configured

    work:
      qubes_vm.timezone:
        - timezone: Europe/Warsaw

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

try:
    from vminterface.dom0.results.states import vm as _vm
    from vminterface.dom0.results.states import watched as _watched

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

__opts__: dict[str, Any]
__pillar__: dict[str, Any]

__virtualname__ = "qubes_vm"


def __virtual__() -> str | tuple[bool, str]:
    if MISSING:
        return False, f"qubes_vm: {MISSING}; run saltutil.sync_all, or with salt-ssh set thin_extra_mods: vminterface"
    return __virtualname__


def _options(require_running: bool | None, timeout: float | None) -> dict[str, Any]:
    return {"require_running": require_running, "timeout": timeout, "test": __opts__["test"]}


def _source() -> str:
    return f"the pillar of minion {__opts__['id']}"


def all_configured(
    name: str, only: Sequence[str] | None = None, channel: str | None = None, persist: bool | None = None,
    confirm: bool | None = None,
) -> dict[str, Any]:  # fmt: skip
    """
    Bring every running VM of the pillar to its settings, all at the same time.

    It is one state in the run's report, and counts as one: ``changes`` has by VM what changed in it, and the comment
    how many VMs came to what, with a sentence for each that failed or needs another remark. If anything in
    the pillar is wrong, every fault is listed with its path and nothing is written anywhere; so it is where the
    minion's pillar has no ``qubes:vms``. For no VMs that is ``{}``.

    .. versionadded:: 0.1.0

    name
        Any text; requisites refer to it.
    only
        List of fields to push, the pillar's: ``type``, ``updateable``, ``persistence``, ``base_template``,
        ``default_user``, ``timezone``, ``keyboard``, ``keymap``, ``debug``, ``services``, ``vm_config``, ``network``,
        ``provides_network``, ``netvm``, ``firewall``, ``features``, ``label``, ``memory``, ``maxmem``, ``vcpus``,
        ``guivm``, ``audiovm``, ``autostart``, ``template_for_dispvms``, ``monitors``. Without it, all.
    channel, persist, confirm
        Options of the push that override the pillar's: ``auto``, ``xenstore`` or ``qubesdb``; whether qubesd stores
        what is persistent; whether to wait for the agents' acknowledgements.

    .. code-block:: yaml

        zones:
          qubes_vm.all_configured:
            - only: [timezone]
    """
    options = {"channel": channel, "persist": persist, "confirm": confirm}
    how = {"source": _source(), "test": __opts__["test"]}
    return _vm.all_configured(name, __pillar__, only, options, **how)


def all_reporting(name: str, vms: Sequence[str] | None = None) -> dict[str, Any]:
    """
    Let running VMs report their memory and devices: grant them the XenStore nodes for that.

    A push gives them too, to the VMs of the pillar; ``qubes_vm.report`` returns the reports. A VM reports its
    memory while its service ``meminfo-writer`` is on.

    .. versionadded:: 0.1.0

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


def configured(
    name: str, settings: Mapping[str, Any] | None = None, only: Sequence[str] | None = None, channel: str | None = None,
    persist: bool | None = None, confirm: bool | None = None,
) -> dict[str, Any]:  # fmt: skip
    """
    Bring one VM to its settings.

    .. versionadded:: 0.1.0

    name
        Name of the VM.
    settings
        Settings of the VM, as in the pillar below ``qubes:vms:<name>``. Without it, the pillar's
        ``qubes:vms:<name>`` on top of ``qubes:defaults``.
    only
        List of fields, as for ``all_configured``.
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


def timezone(
    name: str, timezone: str, require_running: bool | None = None, timeout: float | None = None
) -> dict[str, Any]:
    """
    Give a VM its time zone.

    .. versionadded:: 0.1.0

    name
        Name of the VM.
    timezone
        Name of a zone (``Europe/Warsaw``), or ``default``: the VM keeps its own, on Qubes R4 that of dom0.
    require_running, timeout
        Whether it is an error if the VM is not running, and the seconds that it has to acknowledge.

    .. code-block:: yaml

        work:
          qubes_vm.timezone:
            - timezone: Europe/Warsaw
    """
    return _vm.fields(name, {"timezone": timezone}, **_options(require_running, timeout))


def service_enabled(
    name: str, services: Sequence[str] | str, require_running: bool | None = None, timeout: float | None = None
) -> dict[str, Any]:
    """
    Switch services of a VM on.

    .. versionadded:: 0.1.0

    name
        Name of the VM.
    services
        Names of the services, or one name.
    require_running, timeout
        Whether it is an error if the VM is not running, and the seconds that it has to acknowledge.

    .. code-block:: yaml

        work:
          qubes_vm.service_enabled:
            - services: [cups, network-manager]
    """
    return _vm.services(name, services, True, **_options(require_running, timeout))


def service_disabled(
    name: str, services: Sequence[str] | str, require_running: bool | None = None, timeout: float | None = None
) -> dict[str, Any]:
    """
    Switch services of a VM off.

    .. versionadded:: 0.1.0

    name
        Name of the VM.
    services
        Names of the services, or one name.
    require_running, timeout
        Whether it is an error if the VM is not running, and the seconds that it has to acknowledge.

    .. code-block:: yaml

        work:
          qubes_vm.service_disabled:
            - services: cups
    """
    return _vm.services(name, services, False, **_options(require_running, timeout))


def service_default(
    name: str, services: Sequence[str] | str, require_running: bool | None = None, timeout: float | None = None
) -> dict[str, Any]:
    """
    Leave services to the VM's own default: their keys are removed.

    .. versionadded:: 0.1.0

    name
        Name of the VM.
    services
        Names of the services, or one name.
    require_running, timeout
        Whether it is an error if the VM is not running, and the seconds that it has to acknowledge.

    .. code-block:: yaml

        work:
          qubes_vm.service_default:
            - services: clocksync
    """
    return _vm.services(name, services, "default", **_options(require_running, timeout))


def network(
    name: str, ip: str | None = None, netmask: str | None = None, gateway: str | None = None,
    dns: Sequence[str] | str | None = None, mac: str | None = None, ip6: str | None = None, gateway6: str | None = None,
    reattach: bool | None = None, none: bool = False, require_running: bool | None = None, timeout: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """
    Give a VM the addresses of its network: ``ip`` and ``gateway`` at least, others that are not named stay as they are,
    but for the netmask.

    .. versionadded:: 0.1.0

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
        Remove the network: all these keys are removed.
    require_running, timeout
        Whether it is an error if the VM is not running, and the seconds that it has to acknowledge.

    .. code-block:: yaml

        work:
          qubes_vm.network:
            - ip: 10.137.0.12
            - gateway: 10.137.0.5
            - dns: [10.139.1.1, 10.139.1.2]
    """
    given: dict[str, Any] = {
        "ip": ip,
        "netmask": netmask,
        "gateway": gateway,
        "dns": dns,
        "mac": mac,
        "ip6": ip6,
        "gateway6": gateway6,
    }
    given["reattach"] = reattach
    return _vm.addresses(name, "network", given, none, **_options(require_running, timeout))


def provides_network(
    name: str, gateway: str | None = None, netmask: str | None = None, network: str | None = None,
    dns: Sequence[str] | str | None = None, gateway6: str | None = None,
    connected: Sequence[Mapping[str, str]] | str | None = None, none: bool = False, require_running: bool | None = None,
    timeout: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """
    Let a VM provide network to others: ``gateway`` at least, others that are not named stay as they are, but for the
    netmask and the network.

    .. versionadded:: 0.1.0

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
        interface to it. Without it, the clients are those that the toolstack gave the VM; ``default`` goes back
        to these.
    none
        Do not provide network: all these keys are removed.
    require_running, timeout
        Whether it is an error if the VM is not running, and the seconds that it has to acknowledge.

    .. code-block:: yaml

        sys-net:
          qubes_vm.provides_network:
            - gateway: 10.137.0.5
            - network: 10.137.0.0
            - dns: [10.139.1.1, 10.139.1.2]
            - connected:
                - {ip: 10.137.0.12, mac: "00:16:3e:5e:6c:01"}
    """
    given: dict[str, Any] = {"gateway": gateway, "netmask": netmask, "network": network}
    given.update({"dns": dns, "gateway6": gateway6, "connected": connected})
    return _vm.addresses(name, "provides_network", given, none, **_options(require_running, timeout))


def keyboard(
    name: str, keyboard: str | None = None, persist: bool | None = None, require_running: bool | None = None,
    timeout: float | None = None, layout: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """
    Give a VM its keyboard layout.

    .. versionadded:: 0.1.0

    name
        Name of the VM.
    keyboard
        Layout, variant and options with ``+`` between them (``pl+dvorak``), or ``default``: the VM keeps its own, on
        Qubes R4 that of qubesd.
    persist
        Whether qubesd stores it, which on Qubes R4 it does by default. It only stores one layout; several, as in
        ``us,ru``, go to the running VM with ``False``.
    require_running, timeout
        Whether it is an error if the VM is not running, and the seconds that it has to acknowledge.
    layout
        Former name of ``keyboard``, until 1.0.

    .. code-block:: yaml

        work:
          qubes_vm.keyboard:
            - keyboard: pl+dvorak
    """
    given, former = {"keyboard": keyboard}, {"keyboard": layout}
    return _vm.fields(name, given, former=former, persist=persist, **_options(require_running, timeout))


def debug(
    name: str, debug: bool | str = True, require_running: bool | None = None, timeout: float | None = None,
    enabled: bool | str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """
    Switch a VM's debug mode on or off.

    .. versionadded:: 0.1.0

    name
        Name of the VM.
    debug
        True, False, or ``default``: the key is removed.
    require_running, timeout
        Whether it is an error if the VM is not running, and the seconds that it has to acknowledge.
    enabled
        Former name of ``debug``, which it goes before, until 1.0.

    .. code-block:: yaml

        work:
          qubes_vm.debug:
            - debug: False
    """
    return _vm.fields(name, {"debug": debug if enabled is None else enabled}, **_options(require_running, timeout))


debug_mode, network_provider = debug, provides_network  # former names, until 1.0


def features(
    name: str, features: Mapping[str, Any], require_running: bool | None = None, timeout: float | None = None
) -> dict[str, Any]:
    """
    Set features that qubesd keeps of a VM, running or not (Qubes R4).

    .. versionadded:: 0.1.0

    name
        Name of the VM.
    features
        Mapping of names to values: on or off for a flag, a number, a text, a list, or ``default`` to remove it; see
        ``vminterface features``. Features that are not named stay as they are.
    require_running, timeout
        Whether it is an error if the VM is not running, and the seconds that it has to acknowledge what is in its keys.

    .. code-block:: yaml

        work:
          qubes_vm.features:
            - features:
                gui-allow-fullscreen: on
                menu-items: [org.example.Viewer.desktop]
                internal: default
    """
    return _vm.fields(name, {"features": features}, **_options(require_running, timeout))


def properties(
    name: str, label: str | None = None, memory: int | str | None = None, maxmem: int | str | None = None,
    vcpus: int | str | None = None, guivm: str | None = None, audiovm: str | None = None, provides_network: Any = None,
    autostart: bool | str | None = None, template_for_dispvms: bool | str | None = None,
    require_running: bool | None = None, timeout: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """
    Set properties that qubesd keeps of a VM, running or not (Qubes R4). Those that are not named stay as they are.

    Each may be ``default``, but for the label: qubesd then forgets it.

    .. versionadded:: 0.1.0

    name
        Name of the VM.
    label
        ``red``, ``orange``, ``yellow``, ``green``, ``gray``, ``blue``, ``purple``, ``black``, or one of your own.
    memory, maxmem
        MiB, or text such as ``4GiB``: what the VM starts with, and the most that it gets; ``maxmem: 0`` keeps it as it
        is.
    vcpus
        How many virtual CPUs it has.
    guivm, audiovm
        The VM that draws its windows, and the one that plays its sound; ``none`` for none, ``dom0`` for dom0.
    provides_network
        Whether it may provide network to others: True, False, or a provider's addresses as in the pillar.
    autostart
        Whether it starts with the host.
    template_for_dispvms
        Whether disposable VMs may be made of it.
    require_running, timeout
        Whether it is an error if the VM is not running, and the seconds that it has to acknowledge what is in its keys.

    .. code-block:: yaml

        vault:
          qubes_vm.properties:
            - label: black
            - memory: 300
            - maxmem: 0
            - autostart: False
    """
    given = {
        "label": label, "memory": memory, "maxmem": maxmem, "vcpus": vcpus, "guivm": guivm, "audiovm": audiovm,
        "provides_network": provides_network, "autostart": autostart, "template_for_dispvms": template_for_dispvms,
    }  # fmt: skip
    return _vm.properties(name, given, **_options(require_running, timeout))


def clock_synced(
    name: str, clock_vm: str | None = None, network_vm: str | None = None, vms: Sequence[str] | None = None
) -> dict[str, Any]:
    """
    Bring the clocks of running VMs to that of the one that keeps the time, some at a time.

    Set are those that are wrong by more than 2 s; ``changes`` has by VM how many seconds its clock was ahead or behind.
    A VM that fails does not keep the others. In test mode nobody asks the network for the time.

    A VM that dom0's policy does not let ask for the time (``qubes.GetDate``), as those of Whonix, is left out, and its
    comment states that: a clock that is exact to the second could identify it. ``qubes_rpc.clock_set`` sets any.

    .. versionadded:: 0.1.0

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
    return _vm.clock_synced(name, clock_vm, network_vm, vms, test=__opts__["test"])


def mod_watch(name: str, sfun: str = "", **kwargs: Any) -> dict[str, Any]:
    """
    A watched state has changed: do what the state *sfun* does once more, so that requisites and ``listen`` work.

    Not for use in SLS files.

    .. versionadded:: 0.1.0

    name
        Name of the watched state.
    sfun
        Function of the watched state.
    kwargs
        Its other arguments.
    """
    return _watched.once_more(globals()[sfun], name, kwargs)
