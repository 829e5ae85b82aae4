"""The properties that VMs have by their class, and the defaults of these."""

from __future__ import annotations

import ipaddress
import string
from dataclasses import replace

from lab.qubesd.errors import Unanswered
from lab.qubesd.setters import (
    address_setter,
    bool_setter,
    denied_setter,
    int_setter,
    kernel_setter,
    kernelopts_setter,
    keyboard_setter,
    label_setter,
    mac_setter,
    matching_setter,
    netvm_setter,
    provides_setter,
    text_setter,
    virt_mode_setter,
    vm_setter,
)
from lab.qubesd.system import Default, Property, System

_USERNAME = f"Username can contain only those characters: {string.ascii_letters}{string.digits}_-+,."


def _fixed(text: str | None) -> Default:
    return lambda system, vm: text


def _of_template(name: str, default: str | Default) -> Default:
    """Return what a VM's template has, and for a VM without one *default*."""

    def find(system: System, vm: str) -> str | None:
        template = system.reference(vm, "template")
        if template in system.qubes:
            return system.value(template, name)
        return default if isinstance(default, str) else default(system, vm)

    return find


def _maxmem(system: System, vm: str) -> str | None:
    if not _can_balance(system, vm):
        return "0"
    by_size = system.qubes[vm].features.get("os") == "Linux"
    megabytes = int(system.value(vm, "memory") or "0") * 10 if by_size else 4000
    return _of_template("maxmem", str(min(megabytes, system.memory_total // 2)))(system, vm)


def _can_balance(system: System, vm: str) -> bool:
    """Whether the VM's memory may grow and shrink: not with PCI devices, nor without Qubes' tools in a VM of hvm."""
    if system.has_pci(vm):
        return False
    if system.value(vm, "virt_mode") != "hvm":
        return True
    if not system.inherited(vm, "qrexec", "template"):
        return False
    known = [*system.qubes[vm].features]
    if (template := system.reference(vm, "template")) in system.qubes:
        known += system.qubes[template].features
    named = any(feature.startswith("supported-service.") for feature in known)
    return not named or bool(system.inherited(vm, "supported-service.meminfo-writer", "template"))


def _virt_mode(system: System, vm: str) -> str | None:
    return "hvm" if system.has_pci(vm) else _of_template("virt_mode", "pvh")(system, vm)


def _kernelopts(system: System, vm: str) -> str | None:
    if not system.value(vm, "kernel"):
        return ""
    return "" if system.has_pci(vm) else _of_template("kernelopts", "swiotlb=2048")(system, vm)


def _bootmode(system: System, vm: str) -> str | None:
    """Return the VM's own active boot mode, or the one of its template for VMs, if it has options for the kernel."""
    own = system.qubes[vm].features.get("boot-mode.active")
    if own == "default" or (own is not None and _has_options(system, vm, own)):
        return own
    template = system.reference(vm, "template")
    mode = system.value(template, "appvm_default_bootmode") if template in system.qubes else None
    return mode if mode is not None and _has_options(system, vm, mode) else "default"


def _bootmode_of_appvms(system: System, vm: str) -> str | None:
    return system.qubes[vm].features.get("boot-mode.appvm-default", "default")


def _has_options(system: System, vm: str, mode: str) -> bool:
    return system.inherited(vm, f"boot-mode.kernelopts.{mode}", "template") is not None


def _of_host(name: str) -> Default:
    return lambda system, vm: system.host_value(name)


def _yes_no(value: bool) -> str:
    return "True" if value else "False"


def _networked(system: System, vm: str) -> bool:
    return system.value(vm, "provides_network") == "True" or bool(system.reference(vm, "netvm"))


def _ip(system: System, vm: str) -> str | None:
    if not _networked(system, vm):
        return None
    qid = system.qid(vm)
    # No address ends in 0 or 255; those of the first VMs are as they have always been.
    return f"10.137.{qid >> 8}.{qid & 255}" if qid < 255 else f"10.137.{(qid - 1) // 254}.{(qid - 1) % 254 + 1}"


def _ip6(system: System, vm: str) -> str | None:
    on = _networked(system, vm) and system.inherited(vm, "ipv6", "netvm")
    return f"fd09:24ef:4179::a89:{system.qid(vm):x}" if on else None


def _visible_ip(system: System, vm: str) -> str | None:
    return system.inherited(vm, "net.fake-ip", "template") or system.value(vm, "ip")


def _gateway(suffix: str) -> Default:
    def find(system: System, vm: str) -> str | None:
        if system.value(vm, "provides_network") != "True":
            return None
        if suffix and not system.inherited(vm, "ipv6", "netvm"):
            return None
        return system.value(vm, f"visible_ip{suffix}")

    return find


def _visible_gateway(suffix: str) -> Default:
    def find(system: System, vm: str) -> str | None:
        if not suffix and (fake := system.inherited(vm, "net.fake-gateway", "template")):
            return fake
        if suffix and not system.inherited(vm, "ipv6", "netvm"):
            return None
        netvm = system.reference(vm, "netvm")
        return system.value(netvm, f"gateway{suffix}") if netvm in system.qubes else None

    return find


def _visible_netmask(system: System, vm: str) -> str | None:
    if fake := system.inherited(vm, "net.fake-netmask", "template"):
        return fake
    netvm = system.reference(vm, "netvm")
    return "255.255.255.255" if netvm in system.qubes and _networked(system, netvm) else None


def _keyboard(system: System, vm: str) -> str | None:
    seen = [vm]
    while (guivm := system.reference(seen[-1], "guivm")) in system.qubes:
        if guivm in seen:
            # The real one recurses until Python stops it.
            raise Unanswered(f"{guivm} is a GuiVM of its own")
        if (layout := system.qubes[guivm].properties.get("keyboard_layout")) is not None:
            return layout
        seen.append(guivm)
    return "us++"


def _icon(system: System, vm: str) -> str | None:
    qube, label = system.qubes[vm], system.value(vm, "label")
    if not label:
        return None
    if qube.klass in ("AdminVM", "TemplateVM"):
        kind = qube.klass.lower()
    elif qube.klass == "AppVM" and system.value(vm, "template_for_dispvms") == "True":
        kind = "templatevm"
    else:
        kind = "servicevm" if qube.features.get("servicevm") else qube.klass.lower()
    return f"{kind}-{label}"


def _xid(system: System, vm: str) -> str | None:
    return str(system.qubes[vm].xid)


_BASE = {
    "icon": Property("str", _icon),
    "klass": Property("str", lambda system, vm: system.qubes[vm].klass, help="Domain class name"),
    "label": Property("label", _fixed(None), label_setter, "Colourful label assigned to VM.", has_default=False),
    "name": Property("str", lambda system, vm: vm, help="User-specified name of the domain.", write_once=True),
    "qid": Property("int", lambda system, vm: str(system.qid(vm)), write_once=True),
    "uuid": Property("str", lambda system, vm: system.uuid(vm), write_once=True),
}
_DEVICES_DENIED = Property("str", _fixed(""), denied_setter)
_QUBE = {
    **_BASE,
    "audiovm": Property("vm", _of_host("default_audiovm"), vm_setter("audiovm"), "VM used for Audio"),
    "autostart": Property("bool", _fixed("False"), bool_setter),
    "backup_timestamp": Property("int", _fixed(None), int_setter("backup_timestamp", None)),
    "bootmode": Property("str", _bootmode, text_setter),
    "debug": Property("bool", _fixed("False"), bool_setter, "Turns on debugging features."),
    "default_dispvm": Property("vm", _of_host("default_dispvm"), vm_setter("default_dispvm")),
    "default_user": Property(
        "str", _of_template("default_user", "user"),
        matching_setter("[A-Za-z0-9_+,.-]*", _USERNAME),
        "Default user to start applications as.",
    ),
    "devices_denied": _DEVICES_DENIED,
    "dns": Property("str", lambda system, vm: "10.139.1.1 10.139.1.2" if _networked(system, vm) else None),
    "gateway": Property("str", _gateway("")),
    "gateway6": Property("str", _gateway("6")),
    "guivm": Property("vm", _of_host("default_guivm"), vm_setter("guivm"), "VM used for Gui"),
    "include_in_backups": Property("bool", _fixed("True"), bool_setter),
    "installed_by_rpm": Property("bool", _fixed("False"), bool_setter),
    "ip": Property("str", _ip, address_setter(ipaddress.IPv4Address), "IP address of this domain."),
    "ip6": Property("str", _ip6, address_setter(ipaddress.IPv6Address), "IPv6 address of this domain."),
    "kernel": Property(
        "str", _of_template("kernel", _of_host("default_kernel")), kernel_setter, "Kernel used by this domain."
    ),
    "kernelopts": Property("str", _kernelopts, kernelopts_setter),
    "keyboard_layout": Property("str", _keyboard, keyboard_setter, "Keyboard layout for this VM"),
    "mac": Property("str", _fixed("00:16:3e:5e:6c:00"), mac_setter),
    "management_dispvm": Property(
        "vm", _of_template("management_dispvm", _of_host("management_dispvm")), vm_setter("management_dispvm")
    ),
    "maxmem": Property("int", _maxmem, int_setter("maxmem", 0)),
    "memory": Property("int", _of_template("memory", "400"), int_setter("memory", 1)),
    "netvm": Property("vm", _of_host("default_netvm"), netvm_setter, "VM that provides network connection"),
    "provides_network": Property("bool", _fixed("False"), provides_setter),
    "qrexec_timeout": Property(
        "int", _of_template("qrexec_timeout", _of_host("default_qrexec_timeout")), int_setter("qrexec_timeout", 1)
    ),
    "shutdown_timeout": Property(
        "int", _of_template("shutdown_timeout", _of_host("default_shutdown_timeout")),
        int_setter("shutdown_timeout", 1),
    ),
    "start_time": Property("str", _fixed(None)),
    "stubdom_mem": Property("int", _fixed(None), int_setter("stubdom_mem", 1)),
    "stubdom_uuid": Property("str", _fixed("")),
    "stubdom_xid": Property("int", _fixed("-1")),
    "updateable": Property("bool", lambda system, vm: _yes_no("template" not in system.definitions(vm))),
    "vcpus": Property("int", _of_template("vcpus", "2"), int_setter("vcpus", 1)),
    "virt_mode": Property("str", _virt_mode, virt_mode_setter),
    "visible_gateway": Property("str", _visible_gateway("")),
    "visible_gateway6": Property("str", _visible_gateway("6")),
    "visible_ip": Property("str", _visible_ip),
    "visible_ip6": Property("str", lambda system, vm: system.value(vm, "ip6")),
    "visible_netmask": Property("str", _visible_netmask),
    "xid": Property("int", _xid),
}  # fmt: skip
_FOR_DISPVMS = Property("bool", _fixed("False"), bool_setter, "Should this VM be allowed to start as Disposable VM")
_APPVM = {
    **_QUBE,
    "template": Property("vm", _fixed(None), vm_setter("template", none=False, klass="TemplateVM"), has_default=False),
    "template_for_dispvms": _FOR_DISPVMS,
}
_STANDALONEVM = {**_QUBE, "template_for_dispvms": _FOR_DISPVMS}
_TEMPLATEVM = {
    **_QUBE,
    "appvm_default_bootmode": Property("str", _bootmode_of_appvms, text_setter),
    "netvm": Property("vm", _fixed(""), netvm_setter),
}
_ADMINVM = {
    **_BASE,
    **{name: replace(_BASE[name], write_once=False) for name in ("name", "qid", "uuid")},
    "default_dispvm": _QUBE["default_dispvm"],
    "devices_denied": _DEVICES_DENIED,
    "include_in_backups": _QUBE["include_in_backups"],
    "keyboard_layout": Property("str", _fixed("us++"), keyboard_setter, "Keyboard layout for this VM"),
    "updateable": Property("bool", _fixed("True")),
}
_REMOTEVM = {
    **_BASE,
    "include_in_backups": Property("bool", _fixed("False"), bool_setter),
    "relayvm": Property("vm", _fixed(""), vm_setter("relayvm"), "Local qube used as relay."),
    "remote_name": Property("str", _fixed(None), text_setter, "Name on the remote host."),
    "transport_rpc": Property("str", _fixed(None), text_setter, "Transport RPC used by the relay."),
}

#: The properties of each class of VMs.
CLASSES = {
    "AdminVM": _ADMINVM,
    "AppVM": _APPVM,
    "RemoteVM": _REMOTEVM,
    "DispVM": _APPVM,
    "StandaloneVM": _STANDALONEVM,
    "TemplateVM": _TEMPLATEVM,
}
