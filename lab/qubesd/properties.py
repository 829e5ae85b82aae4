"""The properties that VMs have by their class, and the defaults of these."""

from __future__ import annotations

import ipaddress
import string

from lab.qubesd.setters import (
    address_setter,
    bool_setter,
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


def _of_template(name: str, default: str) -> Default:
    def find(system: System, vm: str) -> str | None:
        template = system.qubes[vm].properties.get("template", "")
        return (system.value(template, name) if template in system.qubes else None) or default

    return find


def _of_host(name: str) -> Default:
    return lambda system, vm: system.host_value(name)


def _yes_no(value: bool) -> str:
    return "True" if value else "False"


def _networked(system: System, vm: str) -> bool:
    return system.value(vm, "provides_network") == "True" or bool(system.reference(vm, "netvm"))


def _ip(system: System, vm: str) -> str | None:
    qid = system.qid(vm)
    return f"10.137.{qid >> 8}.{qid & 255}" if _networked(system, vm) else None


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
        netvm = system.reference(vm, "netvm")
        return system.value(netvm, f"gateway{suffix}") if netvm in system.qubes else None

    return find


def _visible_netmask(system: System, vm: str) -> str | None:
    if fake := system.inherited(vm, "net.fake-netmask", "template"):
        return fake
    return "255.255.255.255" if system.reference(vm, "netvm") else None


def _keyboard(system: System, vm: str) -> str | None:
    guivm = system.reference(vm, "guivm")
    return (system.value(guivm, "keyboard_layout") if guivm in system.qubes and guivm != vm else None) or "us++"


def _icon(system: System, vm: str) -> str | None:
    qube = system.qubes[vm]
    kind = "servicevm" if qube.features.get("servicevm") else qube.klass.lower()
    return f"{kind}-{system.value(vm, 'label') or ''}"


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
_DEVICES_DENIED = Property("str", _fixed(""), matching_setter("([bump*][0-9a-f*]{6})*", "Interface code list expected"))
_QUBE = {
    **_BASE,
    "audiovm": Property("vm", _of_host("default_audiovm"), vm_setter("audiovm"), "VM used for Audio"),
    "autostart": Property("bool", _fixed("False"), bool_setter),
    "backup_timestamp": Property("int", _fixed(None), int_setter("backup_timestamp", None)),
    "bootmode": Property("str", _fixed("default"), text_setter),
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
    "kernel": Property("str", _of_host("default_kernel"), kernel_setter, "Kernel used by this domain."),
    "kernelopts": Property("str", _of_template("kernelopts", "swiotlb=2048"), kernelopts_setter),
    "keyboard_layout": Property("str", _keyboard, keyboard_setter, "Keyboard layout for this VM"),
    "mac": Property("str", _fixed("00:16:3e:5e:6c:00"), mac_setter),
    "management_dispvm": Property("vm", _of_host("management_dispvm"), vm_setter("management_dispvm")),
    "maxmem": Property("int", _of_template("maxmem", "4000"), int_setter("maxmem", 0)),
    "memory": Property("int", _of_template("memory", "400"), int_setter("memory", 1)),
    "netvm": Property("vm", _of_host("default_netvm"), netvm_setter, "VM that provides network connection"),
    "provides_network": Property("bool", _fixed("False"), provides_setter),
    "qrexec_timeout": Property("int", _of_template("qrexec_timeout", "60"), int_setter("qrexec_timeout", 1)),
    "shutdown_timeout": Property("int", _of_template("shutdown_timeout", "60"), int_setter("shutdown_timeout", 1)),
    "start_time": Property("str", _fixed(None)),
    "stubdom_mem": Property("int", _fixed(None), int_setter("stubdom_mem", 1)),
    "stubdom_uuid": Property("str", _fixed("")),
    "stubdom_xid": Property("int", _fixed("-1")),
    "updateable": Property("bool", lambda system, vm: _yes_no("template" not in system.definitions(vm))),
    "vcpus": Property("int", _of_template("vcpus", "2"), int_setter("vcpus", 1)),
    "virt_mode": Property("str", _of_template("virt_mode", "pvh"), virt_mode_setter),
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
    "appvm_default_bootmode": Property("str", _fixed("default"), text_setter),
    "netvm": Property("vm", _fixed(""), netvm_setter),
}
_ADMINVM = {
    **_BASE,
    "default_dispvm": _QUBE["default_dispvm"],
    "devices_denied": _DEVICES_DENIED,
    "include_in_backups": _QUBE["include_in_backups"],
    "keyboard_layout": Property("str", _fixed("us++"), keyboard_setter, "Keyboard layout for this VM"),
    "updateable": Property("bool", _fixed("True")),
}

#: The properties of each class of VMs.
CLASSES = {
    "AdminVM": _ADMINVM,
    "AppVM": _APPVM,
    "DispVM": _APPVM,
    "StandaloneVM": _STANDALONEVM,
    "TemplateVM": _TEMPLATEVM,
}
