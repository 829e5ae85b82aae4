"""Properties in the lab's qubesd: what each takes, reads and refuses, as measured on R4.3."""

from __future__ import annotations

import string

import pytest

from lab.qubesd.daemon import Qubesd
from tests.support.qubesdcalls import NOTHING, Error, Vm, ask, error_of, text_of

VALUE, UNFIT = "QubesValueError", "QubesPropertyValueError"
USERNAME = f"Username can contain only those characters: {string.ascii_letters}{string.digits}_-+,."


@pytest.mark.parametrize("name", ["debug", "provides_network", "template_for_dispvms", "include_in_backups"])
def test_a_flag_has_many_words_and_two_texts(work: Vm, name: str) -> None:
    for word in ("True", "true", "1", "on", "ON", "yes"):
        assert work.set(name, word) == "True"
    for word in ("False", "false", "0", "off", "No"):
        assert work.set(name, word) == "False"
    for word in ("", "2", "none"):
        assert work.set(name, word) == Error(VALUE, f"Invalid literal for boolean property: {word!r}")


@pytest.mark.parametrize(
    ("name", "value", "reads"),
    [
        ("netvm", "", ""),
        ("netvm", "sys-net", "sys-net"),
        ("guivm", "personal", "personal"),
        ("audiovm", "dom0", "dom0"),
        ("default_dispvm", "", ""),
        ("ip", "10.137.9.9", "10.137.9.9"),
        ("ip6", "FD09:0:0::00A", "fd09::a"),
        ("mac", "00:16:3E:5E:6C:AA", "00:16:3e:5e:6c:aa"),
        ("default_user", "root", "root"),
        ("default_user", "", ""),
        ("memory", "500", "500"),
        ("vcpus", " 2 ", "2"),
        ("maxmem", "0", "0"),
        ("kernel", "", ""),
        ("kernelopts", "quiet  splash", "quiet  splash"),
        ("label", "red", "red"),
        ("label", "6", "blue"),
        ("virt_mode", "HVM", "hvm"),
        ("keyboard_layout", "pl+dvorak+", "pl+dvorak+"),
        ("keyboard_layout", "us+intl+grp:alt_shift_toggle,compose:menu", "us+intl+grp:alt_shift_toggle,compose:menu"),
        ("template", "fedora", "fedora"),
    ],
)
def test_what_is_taken_reads_in_its_normal_form(work: Vm, name: str, value: str, reads: str) -> None:
    assert work.set(name, value) == reads
    assert text_of(work.call("property.Get", name)).startswith("default=False ")


@pytest.mark.parametrize(
    ("name", "value", "reply"),
    [
        ("netvm", "none", Error(VALUE, "VM name cannot be 'none' nor 'default'")),
        ("netvm", "nosuch", Error(UNFIT, "Can't set netvm to non-existing qube nosuch")),
        ("netvm", "personal", Error(VALUE, "The personal qube does not provide network")),
        ("netvm", "work", Error(VALUE, "The work qube does not provide network")),
        ("netvm", "dom0", NOTHING),
        ("guivm", "default", Error(VALUE, "VM name cannot be 'none' nor 'default'")),
        ("ip", "", Error(VALUE, "Failed to parse property value as IPv4Address")),
        ("ip", "010.137.0.9", Error(VALUE, "Failed to parse property value as IPv4Address")),
        ("ip", "10.137.0.9/32", Error(VALUE, "Failed to parse property value as IPv4Address")),
        ("ip6", "none", Error(VALUE, "Failed to parse property value as IPv6Address")),
        ("mac", "", NOTHING),
        ("mac", "00-16-3e-5e-6c-00", NOTHING),
        ("mac", "00:16:3e:5e:6c", NOTHING),
        ("default_user", "a b", Error(UNFIT, USERNAME)),
        ("default_user", b"caf\xc3\xa9", Error(VALUE, "Non-ASCII bytes in property value")),
        ("memory", "0", Error(UNFIT, "memory must be positive")),
        ("memory", "-1", Error(UNFIT, "memory must be positive")),
        ("vcpus", "many", Error(VALUE, "Failed to parse property value as int")),
        ("qrexec_timeout", "0", Error(UNFIT, "qrexec_timeout must be positive")),
        ("maxmem", "-1", Error(UNFIT, "maxmem must be positive or zero")),
        ("maxmem", "", Error(VALUE, "Failed to parse property value as int")),
        ("kernel", "6.0", Error(UNFIT, "Kernel '6.0' not installed")),
        ("kernel", "a/b", Error(UNFIT, "Kernel name cannot contain '/'")),
        ("kernelopts", "x" * 513, Error(UNFIT, "Kernelopts value too long (512 chars max)")),
        ("label", "RED", Error("QubesLabelNotFoundError", "Label does not exist: RED")),
        ("label", "0xcc0000", Error("QubesLabelNotFoundError", "Label does not exist: 0xcc0000")),
        ("virt_mode", "", Error(UNFIT, "Invalid virtualization mode, supported values: hvm, pv, pvh")),
        ("keyboard_layout", "de", Error(UNFIT, "invalid number of keyboard layout parameters")),
        ("keyboard_layout", "us,de++", Error(UNFIT, "Invalid keyboard layout provided")),
        ("keyboard_layout", "++", Error(UNFIT, "Invalid keyboard layout provided")),
        ("keyboard_layout", "us+a b+", Error(UNFIT, "Invalid layout variant provided")),
        ("template", "", Error(UNFIT, "Invalid value None for property 'template' of <AppVM work>")),
        (
            "template",
            "personal",
            Error(UNFIT, "wrong VM class: domains['personal'] is of type AppVM and not TemplateVM"),
        ),
        ("klass", "TemplateVM", Error(UNFIT, "property 'klass' on AppVM instance cannot be set")),
        ("visible_ip", "10.0.0.1", Error(UNFIT, "property 'visible_ip' on AppVM instance cannot be set")),
        ("dns", "10.0.0.1", Error(UNFIT, "property 'dns' on AppVM instance cannot be set")),
        ("gateway", "10.0.0.1", Error(UNFIT, "property 'gateway' on AppVM instance cannot be set")),
        ("qid", "9", NOTHING),
        ("name", "other", NOTHING),
        ("nosuch", "x", Error("QubesNoSuchPropertyError", "Invalid property 'nosuch' of work")),
    ],
)
def test_what_is_refused_stays_as_it_was(work: Vm, name: str, value: bytes | str, reply: Error | None) -> None:
    before = work.call("property.Get", name)
    assert work.set(name, value) == reply
    assert work.call("property.Get", name) == before


def test_a_loop_of_networks_is_refused(qubesd: Qubesd, work: Vm) -> None:
    work.set("provides_network", "True")
    loop = Error(VALUE, "Loops in network are unsupported")
    assert work.set("netvm", "work") == loop
    assert Vm(qubesd, "sys-net").set("netvm", "work") == loop
    assert Vm(qubesd, "sys-net").call("property.Reset", "netvm") == Error(VALUE, "Loops in network are unsupported")


def test_a_provider_stays_one_while_it_has_clients(qubesd: Qubesd) -> None:
    reply = Error(VALUE, "The qube is still used by other qubes, change theirs 'netvm' first")
    assert Vm(qubesd, "sys-net").set("provides_network", "False") == reply


def test_a_reset_gives_what_the_default_was_said_to_be(work: Vm) -> None:
    for name, value in (("keyboard_layout", "pl++"), ("netvm", ""), ("ip", "10.137.9.9"), ("default_user", "root")):
        default = text_of(work.call("property.GetDefault", name)).split(" ", 1)[1]
        work.set(name, value)
        assert text_of(work.call("property.GetDefault", name)).split(" ", 1)[1] == default
        assert work.call("property.Reset", name) == ""
        assert text_of(work.call("property.Get", name)).startswith("default=True ")
        assert work.get(name) == default


def test_some_have_no_default(work: Vm) -> None:
    assert work.call("property.GetDefault", "label") == ""
    assert work.call("property.Reset", "label") == ""
    assert work.call("property.Get", "label") == "default=True type=label "
    assert work.call("property.Reset", "template") == Error(VALUE, "Cannot unset template")
    assert work.call("property.Reset", "qid") is NOTHING


def test_defaults_come_from_the_template_the_host_and_the_network(qubesd: Qubesd, work: Vm) -> None:
    assert work.get("default_user") == "user"
    Vm(qubesd, "fedora").set("default_user", "admin")
    assert work.get("default_user") == "admin"
    assert work.get("guivm") == "dom0"
    Vm(qubesd, "dom0").set("keyboard_layout", "de++")
    assert work.get("keyboard_layout") == "de++"
    assert text_of(work.get("ip")).startswith("10.137.0.")
    assert work.get("visible_gateway") == Vm(qubesd, "sys-net").get("ip")
    assert work.get("ip6") == ""
    qubesd.qubes["sys-net"].features["ipv6"] = "1"
    assert text_of(work.get("ip6")).startswith("fd09:24ef:4179::a89:")
    work.set("netvm", "")
    assert [work.get(name) for name in ("ip", "visible_ip", "dns", "visible_gateway")] == ["", "", "", ""]
    assert Vm(qubesd, "fedora").get("netvm") == ""


def test_net_fake_is_what_the_vm_sees_and_the_address_stays(work: Vm) -> None:
    address = work.get("ip")
    for name, value in (("ip", "192.168.0.5"), ("gateway", "192.168.0.1"), ("netmask", "255.255.255.0")):
        work.feature(f"net.fake-{name}", value)
        assert work.get(f"visible_{name}") == value
    assert work.get("ip") == address


def test_all_of_them_come_in_one_reply(qubesd: Qubesd, work: Vm) -> None:
    names = text_of(work.call("property.List")).split()
    assert names[: names.index("xid")] == sorted(names[: names.index("xid")])
    assert names[names.index("xid") + 1 :] == [
        "audiovm", "bootmode", "default_dispvm", "guivm", "kernelopts", "management_dispvm", "netvm", "template",
    ]  # fmt: skip
    lines = dict(line.split(" ", 1) for line in text_of(work.call("property.GetAll")).splitlines())
    assert list(lines) == names
    assert all(lines[name] == work.call("property.Get", name) for name in names)
    assert work.call("property.Help", "ip") == "IP address of this domain."
    assert {"template", "netvm", "debug"} <= set(names)
    assert not {"netvm", "debug", "template"} & set(text_of(ask(qubesd, "admin.vm.property.List", "dom0")).split())
    assert "template" not in text_of(ask(qubesd, "admin.vm.property.List", "fedora")).split()


def test_the_template_of_a_running_vm_stays(qubesd: Qubesd, work: Vm) -> None:
    qubesd.start_vm("work")
    assert error_of(work.set("template", "fedora")).kind == "QubesVMNotHaltedError"
