"""The texts of the keys of single settings: what dom0 reads in a store, and an agent in its VM."""

from __future__ import annotations

from typing import Any

from tests.fuzz.pieces import Pieces, in_pairs, text_pairs
from tests.fuzz.target import Target, as_text, bytes_target, check_text, text_target
from vminterface import keys
from vminterface.errors import InvalidValue
from vminterface.values import flags, servicecatalogue, vmname
from vminterface.values.acknowledgement import Acknowledgement, digest
from vminterface.values.announcement import Announcement
from vminterface.values.keyboard import KeyboardLayout, Keymap
from vminterface.values.label import Label
from vminterface.values.memorysize import MemorySize
from vminterface.values.persistence import Persistence
from vminterface.values.service import ServiceName, ServiceState, hash_of, hashed_app, of_hash
from vminterface.values.timezone import Timezone, zone_is_installed
from vminterface.values.unreadable import Unreadable
from vminterface.values.vmconfig import ConfigName
from vminterface.values.vmname import VMName
from vminterface.values.vmtype import VMType
from vminterface.values.xkblist import warnings

KEYMAP = KeyboardLayout.parse("us,de+,nodeadkeys").keymap().text
_DIGEST = "0123456789abcdef"


def _flag(text: str) -> tuple[bool, ...]:
    """Read *text* in every spelling of a flag that takes it."""
    found = []
    for parse, render in (
        (flags.parse_true_false, flags.render_true_false),
        (flags.parse_one_zero, flags.render_one_zero),
        (flags.from_word, None),
    ):
        try:
            value = parse(text)
        except InvalidValue:
            continue
        assert render is None or render(value) == text
        found.append(value)
    if not found:
        flags.from_word(text)
    return tuple(found)


def _zone(text: str) -> Timezone:
    """Read a zone that this machine need not have; whatever the name is, looking for it raises nothing."""
    zone_is_installed(text)
    zone_is_installed(text, "/nonexistent")
    return Timezone.parse(text, exists=lambda name: not name.endswith("Atlantis"))


def _service(text: str) -> ServiceName:
    name = ServiceName.parse(text)
    if app := hashed_app(text):
        assert of_hash(hash_of(app), app) == text
    assert not of_hash("x", text)
    if near := servicecatalogue.misspelt(text):
        assert near in servicecatalogue.KNOWN
    return name


def _word(text: str) -> str:
    """Read one of the few words that a key may hold, by the key's letter before a colon."""
    kind, _, word = text.partition(":")
    match kind:
        case "t":
            found = VMType.parse(word)
            assert isinstance(found.provides_network, bool)
            assert servicecatalogue.defaults_for(found) <= set(servicecatalogue.KNOWN)
            return f"t:{found.render()}"
        case "p":
            return f"p:{Persistence.parse(word).render()}"
        case "k":
            state = ServiceState.from_key(word)
            return f"k:{state.render()}"
        case "u":
            return f"u:{vmname.parse_default_user(word)}"
    return f"s:{ServiceState.from_word(word).word()}"


def _name(text: str) -> VMName:
    vmname.is_dom0(text)
    vmname.refuse_dom0(text)
    return VMName.parse(text)


def _layout(value: KeyboardLayout) -> None:
    assert 1 <= len(value.groups) <= 4
    assert Keymap.parse(value.keymap().text) == value.keymap()
    for line in warnings(value, files=("/nonexistent",)) or warnings(value):
        check_text(line)


def _keymap(text: str) -> Keymap:
    """Read a keymap as it is, or as the stores' tools print it."""
    return Keymap.from_escaped(text) if "\\" in text else Keymap.parse(text)


def _keymap_holds(value: Keymap) -> None:
    escaped = value.text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
    assert Keymap.from_escaped(escaped) == value
    assert Keymap.parse(value.render()) == value


def _digest(data: bytes) -> str:
    return digest(text_pairs(data))


def _digest_holds(found: str) -> None:
    assert len(found) == 16
    assert set(found) <= set("0123456789abcdef")


def _acknowledgement(value: Acknowledgement) -> None:
    text = value.render()
    check_text(text)
    assert len(text) <= 512
    again = Acknowledgement.parse(text)
    assert (again.accepted, again.digest, again.owner) == (value.accepted, value.digest, value.owner)
    assert again.render() == text


def _rendered_acknowledgement(data: bytes) -> Acknowledgement:
    """Render what an agent has to say, whatever a program told it."""
    pieces = Pieces(data)
    owner = ("accept", "ignore", "refuse")[pieces.byte() % 3]
    accepted = owner == "accept" and bool(pieces.byte() % 2)
    return Acknowledgement(accepted, _DIGEST, as_text(pieces.rest()), owner)


def _announcement(value: Announcement) -> None:
    text = value.render()
    again = Announcement.parse(text)
    assert (again.version, again.settings) == (value.version, value.settings)
    assert dict(again.unaccepted) == dict(value.unaccepted)
    assert again.render() == text


def _key(data: bytes) -> tuple[str, Any]:
    """Read any key of the table: its name, a NUL, its text."""
    name, _, value = data.partition(b"\0")
    row = keys.for_name(name.decode("latin-1"))
    if row is None:
        assert not keys.is_field("\0") or name
        raise InvalidValue("there is no such key")
    return row.field, keys.read_value(row.field, as_text(value))


def _key_holds(found: tuple[str, Any]) -> None:
    field, value = found
    text = keys.text_of(field, value)
    assert text is not None
    if isinstance(value, Unreadable):
        assert text == value.text
        return
    assert text.isascii(), f"rendered as {text!r}"
    again = keys.read_value(field, text)
    assert again == value, f"{field}: {value!r} is rendered as {text!r}, which is {again!r}"
    assert keys.text_of(field, again) == text


def _size(text: str) -> MemorySize:
    return MemorySize.parse(text, zero=text.startswith("0"))


def _label(text: str) -> Label:
    return Label.parse(text)


TARGETS: tuple[Target, ...] = (
    text_target(
        "values.timezone", _zone, Timezone.render, "Europe/Warsaw", "America/Indiana/Indianapolis", "Etc/GMT+5", "UTC",
        "localtime", "posix/UTC", "Sea/Atlantis", words="/ + - _ posix right posixrules localtime",
    ),
    text_target("values.flag", _flag, None, "True", "False", "1", "0", "on", "OFF", words="true false on off"),
    text_target("values.label", _label, Label.render, "red", "8", "9", "Red", "my-own.label_2", words="black gray _ ."),
    text_target(
        "values.memorysize", _size, MemorySize.render, "400", "4GiB", "16 TiB", "0", "17TiB", words="MiB GiB TiB"
    ),
    text_target(
        "values.service", _service, ServiceName.render, "cups", "app-dispvm.firefox", "app-dispvm." + "x" * 60,
        "clockync", "qubes-update-check", words="app-dispvm. - . _",
    ),
    text_target(
        "values.word", _word, str, "t:AppVM", "t:NetVM", "p:rw-only", "k:1", "k:0", "s:on", "s:default", "s:1",
        "u:joanna.r", words="TemplateVM ProxyVM StandaloneVM DispVM full none off true",
    ),
    text_target(
        "values.vmname", _name, VMName.render, "work", "sys-net", "a" * 31, "Domain-0", "work-dm", "none", "@adminvm",
        words="default dom0 -dm . _",
    ),
    text_target(
        "values.vmconfig", ConfigName.parse, ConfigName.render, "mode", "vminterface-x", "A1_.-", words="vminterface-"
    ),
    text_target(
        "values.keyboardlayout", KeyboardLayout.parse, KeyboardLayout.render, "us++", "fr+oss+", "pl++compose:caps",
        "us,de+,nodeadkeys+", "us,de,fr", "de+neo", "jp", "us,us,us,us+,,,", "a,b,c,d,e", "us+a+b+c", "fr,de+,koy",
        "us+-x", "us++,", holds=_layout, words="+ , : dvorak nodeadkeys compose:caps neo adnw",
    ),
    text_target(
        "values.keymap", _keymap, None, KEYMAP, "xkb_keymap { };", 'xkb_keymap { "}" };\n// end', "xkb_keymap\\x0a{ };",
        'xkb_keymap "a" { { } } ; # x', "xkb_keymap { } }", 'xkb_keymap { " }', "xkb_keymap {\\q};",
        "xkb_keymap {\\\\}",
        "xkb_keymap { " + "x" * 3060, "xkb_keymap {é}", "\\n" * 1600, holds=_keymap_holds, input_max=13_000,
        words='xkb_keymap { } " // # ; \\n \\t \\\\ \\x0a include xkb_symbols',
    ),
    text_target(
        "values.acknowledgement", Acknowledgement.parse, None, f"ok {_DIGEST}", f"ok {_DIGEST} note",
        f"refused {_DIGEST} no such zone", f"ignored {_DIGEST} x", f"unaccepted {_DIGEST} x y", "pending",
        f"refused {_DIGEST}", holds=_acknowledgement, words=f"ok refused ignored unaccepted {_DIGEST}",
    ),
    bytes_target(
        "values.acknowledgement-made", _rendered_acknowledgement, b"\0\1applied", b"\1\0", b"\2\0a\nb",
        b"\0\0" + b"x" * 300,
        holds=_acknowledgement,
    ),
    bytes_target(
        "values.digest", _digest, in_pairs({"timezone": "UTC"}), b"network:ip=\xff\nnetwork:gateway=a\\nb", b"a\xff=\0",
        "a=\ud800".encode("utf-8", "surrogatepass"), holds=_digest_holds, words="network:ip= = \\",
    ),
    text_target(
        "values.announcement", Announcement.parse, None, "1 1.0 timezone network",
        "1 2+x ignored_name unaccepted_debug",
        "1 1", "2 1 x", "1 1 ignored_name name", holds=_announcement,
        words="timezone services network provider keyboard debug name ignored_ unaccepted_",
    ),
    bytes_target(
        "keys", _key,
        *(f"{name}\0{text}".encode() for name, text in (
            ("qubes-timezone", "Europe/Warsaw"), ("qubes-service/cups", "1"), ("type", "AppVM"), ("name", "work"),
            ("qubes-vm-updatable", "True"), ("qubes-netmask", "255.255.255.0"), ("qubes-debug-mode", "0"),
            ("vm-config/x", "text"), ("vm-config/vminterface-dns", "10.139.1.1 fd00::1"), ("persist/a", "/home"),
            ("vm-config/vminterface-dns-search", "Example.org"), ("qubes-gui-domain-xid", "0012"), ("x", "y"),
            ("qubes-netvm-connected", "10.137.0.12,00:16:3e:5e:6c:01,vif5.0 fd09::c"), ("hash-app-dispvm/x", "firefox"),
            ("connected-ips", "10.137.0.12  10.137.0.13"), ("connected-ips6", "fd09::1"), ("remote/r", "x"),
            ("audio-input-config/mic", "1"), ("qubes-keyboard", KEYMAP), ("keyboard-layout", "us"), ("a/b/c", ""),
        )),
        holds=_key_holds, words=" ".join(row.name.rstrip("*") for row in keys.TABLE),
    ),
)  # fmt: skip
