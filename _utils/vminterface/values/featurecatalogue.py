"""The features of VMs that Qubes R4.3 knows by name: what each does, what it may be, and when it takes effect.

Sources: the manual page of ``qvm-features``; core-admin with its extensions and the template for libvirt;
``qvm-start-daemon`` and gui-daemon for what begins with ``gui-``; desktop-linux-common and -menu for the menus. Any
other name is right too, for programs of one's own; Qubes itself never uses one that begins with ``x-``.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vminterface.values import address, schema
from vminterface.values.effect import Effect
from vminterface.values.featurekind import ANY, FLAG, TEXT, Kind, form, number, one_of, parsed, words

#: How alike a name has to be, from 0 to 1, to count as misspelt.
_NEAR = 0.8
GUI_DEFAULT = "gui-default-"


class Setter(enum.Enum):
    """Who sets a feature as a rule."""

    ADMIN = "admin"
    #: By qubes.FeaturesRequest.
    TOOLS = "VM"
    #: By its own programs.
    DOM0 = "dom0"


@dataclass(frozen=True, slots=True)
class KnownFeature:
    """What a feature does, and what it may be."""

    does: str
    kind: Kind = FLAG
    effect: Effect = Effect.START
    setter: Setter = Setter.ADMIN


_WORD = r"[A-Za-z0-9_.-]{1,64}"
_SEQUENCE = form(
    "a key with modifiers, such as Ctrl-Shift-c, or disable",
    r"(?i:none|disable)|(?:(?i:shift|ctrl|alt|mod[1-4])-)*[A-Za-z0-9_]{1,40}",
    r"(?:[A-Za-z]{3,5}[1-4]?-)*[A-Za-z0-9_]{1,40}",
)
_COLOUR = form("a colour's name, or 0xRRGGBB", r"0[xX](?:[0-9a-fA-F]{3}){1,2}|[A-Za-z][A-Za-z0-9 ]{1,40}")
_TRAY = one_of(
    "bg", "border1", "border2", "tint", "tint+border1", "tint+border2", "tint+saturation50", "tint+whitehack"
)
_APPLICATIONS = words("names of .desktop files, such as org.example.Viewer.desktop", r"[^/\s]{1,250}\.desktop")
_IPV4 = parsed("an IPv4 address", address.parse_ipv4, address.IPV4)
_VM = form("a VM's name", r"[A-Za-z][A-Za-z0-9_.-]{0,30}")

#: Options of the GUI daemon by the name behind ``gui-``; ``gui-default-`` before it is for all VMs of a GuiVM.
_GUI: Mapping[str, tuple[str, Kind]] = {
    "allow-fullscreen": ("lets windows cover the whole screen", FLAG),
    "allow-utf8-titles": ("lets titles of windows have other than ASCII characters", FLAG),
    "events-max-delay": (
        "delays keys and mouse at random, to hide how somebody types",
        number(0, 5000, "milliseconds"),
    ),
    "max-clipboard-size": ("limits what the clipboard between VMs takes", number(256, 256000, "characters")),
    "override-redirect": (
        "lets windows bypass the window manager",
        one_of("allow", why="; R4.3's GUI daemon ends at disable, and is not given disabled"),
    ),
    "override-redirect-protection": ("lets the window manager handle such windows if they are large", FLAG),
    "secure-copy-sequence": ("copies to the clipboard between VMs", _SEQUENCE),
    "secure-paste-sequence": ("pastes from the clipboard between VMs", _SEQUENCE),
    "startup-timeout": ("is how long the GUI daemon waits for the VM", number(0, what="seconds")),
    "trayicon-mode": ("is how icons in the tray show their VM's colour", _TRAY),
    "window-background-color": ("fills a window that has no content yet", _COLOUR),
    "windows-count-limit": ("limits how many windows the VM has", number(1)),
}

_OTHERS: Mapping[str, KnownFeature] = {
    "anon-timezone": KnownFeature("keeps the time zone of dom0 from the VM"),
    "apparmor": KnownFeature("starts the VM's kernel with AppArmor"),
    "appmenus-dispvm": KnownFeature("lets the menu's entries start programs in disposable VMs", effect=Effect.NOW),
    "appmenus-legacy": KnownFeature("makes menu entries for VMs of older releases", effect=Effect.NOW),
    "audio": KnownFeature("gives the VM sound"),
    "audio-model": KnownFeature("gives an HVM an emulated sound card", one_of("ich6", "sb16", "ac97", "es1370")),
    "boot-mode.active": KnownFeature(
        "is the boot mode of the VM", form("a boot mode's name", _WORD), setter=Setter.TOOLS
    ),
    "boot-mode.appvm-default": KnownFeature(
        "is the boot mode of VMs that are based on the template", form("a boot mode's name", _WORD),
        setter=Setter.TOOLS,
    ),
    "boot-mode.standalone-default": KnownFeature(
        "is the boot mode of standalone VMs made of the template", form("a boot mode's name", _WORD),
        setter=Setter.TOOLS,
    ),
    "check-updates": KnownFeature("lets the VM check for updates (its service qubes-update-check)"),
    "default-menu-items": KnownFeature(
        "are the applications in the menus of VMs based on the template", _APPLICATIONS, Effect.NOW
    ),
    "expert-mode": KnownFeature("shows a debug console in the menu of running VMs", effect=Effect.NOW),
    "gui": KnownFeature("marks that the VM has a GUI agent"),
    "gui-emulated": KnownFeature("shows the emulated screen of an HVM"),
    "gui-seamless": KnownFeature("shows only the VM's windows, if the VM could show its whole desktop"),
    "gui-videoram-min": KnownFeature("is the least video memory of the VM", number(0, what="KiB")),
    "gui-videoram-overhead": KnownFeature("is video memory beyond what the screens need", number(0, what="KiB")),
    "guivm-windows-prefix": KnownFeature("stands before the titles of a GuiVM's own windows", TEXT),
    "input-dom0-proxy": KnownFeature("gives the VM the input devices of dom0"),
    "internal": KnownFeature("hides the VM from menus and tools", effect=Effect.NOW),
    "ipv6": KnownFeature("gives the VM, and those that it provides network to, IPv6"),
    "linux-stubdom": KnownFeature("runs the device model of an HVM in a Linux stub domain"),
    "memory-hotplug": KnownFeature("starts the VM with its first memory alone and adds the rest later"),
    "menu-favorites": KnownFeature("are the VM's applications among the menu's favourites", words(
        "names of applications", r"\S{1,250}"), Effect.NOW),
    "menu-items": KnownFeature("are the VM's applications in the menu", _APPLICATIONS, Effect.NOW),
    "net.fake-gateway": KnownFeature("is shown to the VM as its gateway", _IPV4),
    "net.fake-ip": KnownFeature("is shown to the VM as its address", _IPV4),
    "net.fake-netmask": KnownFeature(
        "is shown to the VM as its netmask", parsed(
            "a netmask such as 255.255.255.0", address.parse_netmask, address.NETMASK
        )
    ),
    "netvm-menu-items": KnownFeature(
        "are the applications in the menus of service VMs based on the template", _APPLICATIONS, Effect.NOW
    ),
    "no-default-kernelopts": KnownFeature("starts the VM's kernel without Qubes' own options"),
    "no-monitor-layout": KnownFeature("keeps the layout of the monitors from the VM", effect=Effect.NOW),
    "no-nomodeset": KnownFeature("starts the VM's kernel without the option nomodeset"),
    "pci-e820-host": KnownFeature("shows the host's memory map to a VM with PCI devices"),
    "preload-dispvm-delay": KnownFeature(
        "is how long after one disposable VM was used the next is preloaded",
        form("seconds", r"-?[0-9]{1,6}(?:\.[0-9]{1,3})?"), Effect.NOW,
    ),
    "preload-dispvm-max": KnownFeature("is how many disposable VMs are preloaded", number(0), Effect.NOW),
    "prohibit-start": KnownFeature("forbids starting the VM; its text is the reason", Kind(
        "on, off, or why the VM must not start", lambda text: text, flag_too=True), Effect.NOW),
    "qemu-extra-args": KnownFeature("adds arguments to the device model of an HVM", TEXT),
    "qrexec": KnownFeature("marks that services can be called in the VM"),
    "qubes-firewall": KnownFeature("marks that the VM applies the firewall of its clients", effect=Effect.NOW),
    "rpc-clipboard": KnownFeature("copies and pastes by services, as Windows needs it"),
    "selinux": KnownFeature("starts the VM's kernel with SELinux"),
    "servicevm": KnownFeature(
        "lists the VM among those that serve others (follows provides_network)", effect=Effect.NOW
    ),
    "set-created-guivm": KnownFeature("is the GuiVM of VMs that this one makes", _VM, Effect.NOW),
    "skip-update": KnownFeature("leaves the VM out of updates", effect=Effect.NOW),
    "stubdom-qrexec": KnownFeature("lets services be called in the stub domain of an HVM"),
    "tag-created-vm-with": KnownFeature(
        "are tags of VMs that this one makes", words("tags", r"[A-Za-z0-9_-]{1,64}"), Effect.NOW
    ),
    "timezone": KnownFeature(
        "is how an HVM's clock differs from UTC", form("localtime, or seconds", r"localtime|-?[0-9]{1,6}")
    ),
    "uefi": KnownFeature("boots an HVM by UEFI"),
    "video-model": KnownFeature(
        "is the emulated graphics card of an HVM", form("a model such as cirrus, or none", r"[a-z0-9-]{1,20}")
    ),
    "vmexec": KnownFeature("marks that the VM has qubes.VMExec", effect=Effect.NOW, setter=Setter.TOOLS),
    **{
        name: KnownFeature(does, TEXT, Effect.NOW, Setter.TOOLS)
        for name, does in (
            ("os", "is the VM's kind of system"),
            ("os-distribution", "is the VM's distribution"),
            ("os-distribution-like", "are the distributions that the VM's is like"),
            ("os-eol", "is the day on which the distribution's support ends"),
            ("os-version", "is the distribution's release"),
            ("qubes-agent-version", "is the release of Qubes' programs in the VM"),
        )
    },
    **{
        name: KnownFeature(does, TEXT, Effect.NOW, Setter.DOM0)
        for name, does in (
            ("last-update", "is when the VM was last up to date"),
            ("last-updates-check", "is when the VM last checked for updates"),
            ("updates-available", "marks that the VM has updates to install"),
        )
    },
}  # fmt: skip

#: Features by name; those of families end in ``*``.
KNOWN: Mapping[str, KnownFeature] = dict(sorted({
    **_OTHERS,
    **{f"gui-{name}": KnownFeature(does, kind) for name, (does, kind) in _GUI.items()},
    f"{GUI_DEFAULT}*": KnownFeature(
        "is gui-* for the VMs of this GuiVM that do not have it", Kind("as gui-*")
    ),
    "boot-mode.default-user.*": KnownFeature(
        "is the default user in a boot mode", form("a user's name", r"[A-Za-z0-9_+,.-]{1,32}"), setter=Setter.TOOLS
    ),
    "boot-mode.kernelopts.*": KnownFeature("are the kernel's options in a boot mode", TEXT, setter=Setter.TOOLS),
    "boot-mode.name.*": KnownFeature("is what a boot mode is called in menus", TEXT, Effect.NOW, Setter.TOOLS),
    "custom-persist.*": KnownFeature(
        "keeps a file or folder over a restart, with the service custom-persist (key persist/NAME)",
        Kind("a path, or file:OWNER:GROUP:MODE:PATH, or dir:OWNER:GROUP:MODE:PATH", lambda text: text,
             form=schema.text(r"(?:(?:file|dir):[^:]*:[^:]*:[0-7]{1,4}:)?/.*")),
    ),
    **{
        f"{name}.*": KnownFeature(f"marks that the VM has {what}", FLAG, Effect.NOW, Setter.TOOLS)
        for name, what in (
            ("supported-feature", "what a feature needs"), ("supported-rpc", "a service that can be called"),
            ("supported-service", "a service that can be switched"),
        )
    },
    "template-*": KnownFeature("is what qvm-template knows of the template", TEXT, Effect.NOW, Setter.DOM0),
    "x-*": KnownFeature("is for programs of your own, and never used by Qubes", ANY, Effect.NOW),
}.items()))  # fmt: skip
_FAMILIES = tuple(sorted((name[:-1] for name in KNOWN if name.endswith("*")), key=len, reverse=True))

#: Why a feature is not for the pillar's ``features``, by the beginning of its name.
_ELSEWHERE: Mapping[str, str] = {
    "service.meminfo-writer": "becomes property maxmem in qubesd (expected maxmem: 0 for off, maxmem: default for on)",
    "service.": "is a service (expected it in services)",
    "vm-config.": "is a key vm-config (expected it in vm_config)",
    "app-dispvm.": "is not a feature that R4.3 reads (expected services: {app-dispvm.ID: on})",
    "preload-dispvm-threshold": "is read of dom0 alone, which is left alone (expected qvm-features dom0)",
    "suspend-s0ix": "is read of dom0 alone, which is left alone (expected qvm-features dom0)",
}
#: What features do and may be, by name.
Schemas = Mapping[str, tuple[str, schema.Schema]]
#: Features that qubesd lets nobody set.
_OF_QUBESD = ("deferred-netvm-original", "preload-dispvm", "preload-dispvm-completed", "preload-dispvm-in-progress")
#: Names that cannot be set, see :func:`why_not`.
NOT_SETTABLE = "|".join([f"(?:{'|'.join(_OF_QUBESD)})$", *(start.replace(".", r"\.") for start in _ELSEWHERE)])


def find(name: str) -> KnownFeature | None:
    """Return what is known of the feature called *name*; None for one that Qubes does not use."""
    if name.startswith(GUI_DEFAULT):
        return KNOWN[f"gui-{option}"] if (option := name.removeprefix(GUI_DEFAULT)) in _GUI else None
    return KNOWN.get(entry_of(name))


def schemas() -> tuple[Schemas, Schemas]:
    """Return what each feature does and may be, by its name and by the pattern of its family's names."""
    names = {**{name: one for name, one in KNOWN.items() if not name.endswith("*")},
             **{f"{GUI_DEFAULT}{name}": KNOWN[f"gui-{name}"] for name in _GUI}}  # fmt: skip
    families = {
        "^" + name[:-1].replace(".", r"\.") + ".": one
        for name, one in KNOWN.items()
        if name.endswith("*") and name[:-1] != GUI_DEFAULT
    }
    return _schemas(names), _schemas(families)


def _schemas(known: Mapping[str, KnownFeature]) -> Schemas:
    return {name: (f"{one.does}; takes effect: {one.effect.value}", one.kind.schema) for name, one in known.items()}


def entry_of(name: str) -> str:
    """Return by which name the feature called *name* is in KNOWN, that of its family for a member; else empty text."""
    if name in KNOWN and not name.endswith("*"):
        return name
    family = next((one for one in _FAMILIES if name.startswith(one) and len(name) > len(one)), "")
    return f"{family}*" if family else ""


def kind_of(name: str) -> Kind:
    """Return what the feature called *name* may be."""
    known = find(name)
    return ANY if known is None else known.kind


def why_not(name: str) -> str:
    """Return why the feature called *name* cannot be set by its name, with what to do instead; else empty text."""
    if name in _OF_QUBESD:
        return "is qubesd's own, which lets nobody set it"
    return next((why for start, why in _ELSEWHERE.items() if name.startswith(start)), "")


def misspelt(name: str) -> str:
    """Return the known feature for which *name* was probably meant; empty where it is one, or is like none."""
    if find(name) is not None:
        return ""
    import difflib

    start, dot, rest = name.partition(".")
    if dot and rest:
        # A member of a family whose own name is misspelt.
        starts = {one[:-1] for one in _FAMILIES if one.count(".") == 1 and one.endswith(".")}
        if near := difflib.get_close_matches(start, starts, n=1, cutoff=_NEAR):
            return f"{near[0]}.{rest}"
    known = [*(one for one in KNOWN if not one.endswith("*")), *(f"{GUI_DEFAULT}{one}" for one in _GUI)]
    near = difflib.get_close_matches(name.replace("_", "-"), known, n=1, cutoff=_NEAR)
    return near[0] if near else ""


def as_data() -> dict[str, dict[str, Any]]:
    """Return all that is known as plain data: ``{name: {"does": …, "value": …, "takes_effect": …, "set_by": …}}``."""
    return {
        name: {
            "does": one.does,
            "value": one.kind.expected,
            "takes_effect": one.effect.value,
            "set_by": one.setter.value,
        }
        for name, one in KNOWN.items()
    }
