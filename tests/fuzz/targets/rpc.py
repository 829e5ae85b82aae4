"""What services carry into a VM: names, times, layouts, requests; and what dom0's admin asks qubesd for."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from tests.fuzz.pieces import Pieces, in_pairs, packed, plain, text_pairs
from tests.fuzz.target import Target, as_text, bytes_target, check_text, text_target
from vminterface.dom0.services import backuplocation
from vminterface.dom0.services.guigreeting import parse_screen
from vminterface.errors import InvalidValue
from vminterface.values import (
    clock,
    feature,
    featurecatalogue,
    featurekind,
    featurerequest,
    flags,
    memorysize,
    monitorsetting,
    rpcname,
    service,
    vmname,
    vmproperty,
    volume,
    webaddress,
)
from vminterface.values.device import PciAddress
from vminterface.values.guimode import GuiMode
from vminterface.values.modeline import Modeline, widths_of_cvt
from vminterface.values.monitor import Monitor, MonitorLayout
from vminterface.values.templaterequest import TemplateRequest
from vminterface.values.volume import Volume
from vminterface.wire import vmexec

MONITORS: tuple[Any, ...] = (
    [{"width": 1920, "height": 1080, "x": 0, "y": 0, "width_mm": 508, "height_mm": 285}],
    [{"width": 1280, "height": 800, "x": 1920, "y": 0, "dpi": 144}, {"width": 800, "height": 600, "x": 0, "y": 0}],
    {"from_dom0": True, "dpi": 120}, "from_dom0", {"from_dom0": False, "dpi": 7, "x": 1}, "x", [], [None] * 17, 7,
    {"x": 1},
    [{"width": "1920", "height": True, "x": -1, "y": 40000, "z": 1, "dpi": "x", "width_mm": 1}],
    [{"width": 1, "height": 1, "x": 32767, "y": 0, "width_mm": 5}], [{"width": 1, "height": 1, "x": 32767, "y": 0}],
)  # fmt: skip


def _names(text: str) -> tuple[str, ...]:
    """Read the names of a call, ``SERVICE+ARGUMENT TARGET``."""
    called, _, target = text.partition(" ")
    name, _, argument = called.partition("+")
    found = rpcname.parse_target(target, keywords=True)
    if not found.startswith("@"):
        assert rpcname.parse_target(found) == found
        assert rpcname.is_target(found)
    return rpcname.descriptor(name, argument), found


def _small(text: str) -> str:
    """Read an input of one word, by the letter before a colon that says of what."""
    kind, _, word = text.partition(":")
    match kind:
        case "g":
            return f"g:{GuiMode.parse(word).render()}"
        case "v":
            return f"v:{Volume.parse(word).render()}"
        case "b":
            return f"b:{backuplocation.parse_id(word)}"
        case "w":
            screen = parse_screen(word)
            return f"w:{screen.width}x{screen.height}"
    return f"s:{volume.parse_size(word)}"


def _layout_holds(layout: MonitorLayout) -> None:
    assert MonitorLayout.parse(layout.render()) == layout
    assert MonitorLayout.from_mappings(layout.mappings()) == layout
    left, top, width, height = layout.bounding_box
    assert left >= 0 <= top
    assert width > 0 < height
    # A large picture of many monitors takes its time.
    for line in (*layout.notes(), *layout.sketch(60 if len(layout) < 3 else 8).splitlines()):
        check_text(line)


def _monitors_hold(setting: monitorsetting.MonitorSetting) -> None:
    if isinstance(setting, monitorsetting.FromDom0):
        check_text(str(setting))
        assert setting.layout(MonitorLayout((Monitor(800, 600, 0, 0),))).monitors
    else:
        _layout_holds(setting)
    assert monitorsetting.parse(monitorsetting.in_words(setting)) == setting


def _modeline(data: bytes) -> tuple[int, int, Modeline]:
    pieces = Pieces(data)
    width, height = 1 + pieces.number(2) % 32767, 1 + pieces.number(2) % 32767
    return width, height, Modeline.for_size(width, height)


def _modeline_holds(found: tuple[int, int, Modeline]) -> None:
    width, height, modeline = found
    assert width in widths_of_cvt(width, height)
    for size, timings in ((width, modeline.horizontal), (height, modeline.vertical)):
        assert timings[0] == size
        # CVT has no room for a pulse in lines that are shorter than any screen's.
        assert size < 64 or list(timings) == sorted(timings)
    assert min(width, height) < 64 or 0 < modeline.clock <= 4_294_750
    assert all(" " not in word for word in modeline.words())


def _time_holds(moment: datetime) -> None:
    for colon in (True, False):
        assert clock.parse(clock.render(moment, colon=colon)) == moment.replace(microsecond=0)
    assert clock.parse_reply(clock.render_reply(moment)) == moment.replace(microsecond=0)
    assert clock.parse_reply(clock.render_reply(moment, nanoseconds=True)) == moment


def _feature(data: bytes) -> tuple[str, str]:
    name, _, text = as_text(data).partition("=")
    featurecatalogue.why_not(name)
    featurecatalogue.entry_of(name)
    feature.check(name, text)
    check_text(featurecatalogue.misspelt(name))
    featurecatalogue.kind_of(name).parse(text)
    return name, text


def _feature_holds(found: tuple[str, str]) -> None:
    name, text = found
    kind = featurecatalogue.kind_of(name)
    value = kind.parse(text)
    rendered = featurekind.render(value)
    assert kind.parse(rendered) == value
    assert json.dumps(featurecatalogue.as_data()).isascii()


def _feature_of_pillar(data: bytes) -> tuple[featurekind.Kind, featurekind.Value]:
    """Read the value of a feature of a pillar: its name, a NUL, plain data."""
    name, _, value = data.partition(b"\0")
    kind = featurecatalogue.kind_of(name.decode("latin-1"))
    return kind, kind.from_pillar(plain(value))


def _feature_of_pillar_holds(found: tuple[featurekind.Kind, featurekind.Value]) -> None:
    kind, value = found
    assert kind.parse(featurekind.render(value)) == value


def _property(data: bytes) -> Any:
    """Read a property's value of a pillar and in qubesd's text: its name, a NUL, plain data."""
    name, _, value = data.partition(b"\0")
    known = vmproperty.KNOWN[sorted(vmproperty.KNOWN)[sum(name) % len(vmproperty.KNOWN)]]
    found = plain(value)
    return known, (known.parse(found[1:]) if isinstance(found, str) and found[:1] == "=" else known.from_pillar(found))


def _property_holds(found: Any) -> None:
    known, value = found
    text = known.render(value)
    check_text(text)
    assert known.parse(text) == value, f"{value!r} is rendered as {text!r}"
    assert known.from_pillar(known.shown(value)) == value, f"{value!r} is shown as {known.shown(value)!r}"


def _property_seed(name: str, value: object) -> bytes:
    index = sorted(vmproperty.KNOWN).index(name)
    return bytes([1] * index) + b"\0" + packed(value)


def _anything(data: bytes) -> list[Any]:
    """Give any plain data to every function of values that takes what YAML has."""
    value = plain(data)
    found = []
    first: InvalidValue | None = None
    parsers: tuple[Callable[[Any], object], ...] = (
        flags.from_word, service.ServiceState.from_word, memorysize.MemorySize.parse, volume.parse_size,
        rpcname.parse_service, rpcname.parse_argument, rpcname.parse_target, vmname.parse_default_user,
        monitorsetting.parse, *(known.from_pillar for known in vmproperty.KNOWN.values()),
    )  # fmt: skip
    for parse in parsers:
        try:
            found.append(parse(value))
        except InvalidValue as error:
            first = first or error
    vmname.is_dom0(value)
    if not found and first is not None:
        raise first
    return found


def _request(data: bytes) -> TemplateRequest:
    return TemplateRequest.parse(data)


def _request_holds(request: TemplateRequest) -> None:
    data = request.render()
    again = TemplateRequest.parse(data)
    assert again == request, f"{request!r} is rendered as {data!r}"


def _asked(data: bytes) -> dict[str, str]:
    values = text_pairs(data)
    for name, value in values.items():
        if name in featurerequest.TOOLS:
            featurerequest.check_tool(name, value)
        featurerequest.check(name, value)
    if not values:
        featurerequest.check_tool(as_text(data), "")
    return values


def _asked_holds(values: dict[str, str]) -> None:
    for name in values:
        if (key := featurerequest.to_xenstore(name)) is not None:
            assert featurerequest.from_xenstore(key) == name


def _command(argv: list[bytes]) -> None:
    text = vmexec.encode(argv)
    rpcname.parse_argument(text)
    assert vmexec.decode(text) == argv


def _argv(data: bytes) -> list[bytes]:
    """Encode the words of a command, with a NUL between; the first one says whether they are text."""
    kind, *words = data.split(b"\n")
    if kind == b"?":
        vmexec.encode(as_text(data))
    argv = [word.decode("utf-8", "surrogatepass" if kind == b"!" else "surrogateescape") for word in words]
    return vmexec.decode(vmexec.encode(argv))


def _line(text: str) -> bytes:
    return backuplocation.line(text)


TARGETS: tuple[Target, ...] = (
    text_target(
        "values.rpcname", _names, None, "qubes.SetMonitorLayout work", "qubes.VMExec+ls+--a+-2Fhome @default",
        "a @dispvm:dvm", "a @adminvm", "x+é y", "x.y z-dm", "A" * 256 + " x", " ", "a @x",
        words="+ @dispvm: @anyvm . _",
    ),
    text_target(
        "rpc.word", _small, None, "g:SEAMLESS", "g:x", "v:private", "v:volatile", "b:0123abcd", "b:", "s:20GiB", "s:0",
        "s:1048576", "s:9 TiB", "w:1920x1080", "w:0x1", "w:99999x1", words="FULLSCREEN root KiB MiB",
    ),
    text_target("values.pciaddress", PciAddress.parse, PciAddress.render, "00:06.0", "0001:ff:1f.7", "00:20.0",
        words=": ."),
    text_target(
        "values.monitor", MonitorLayout.parse, MonitorLayout.render, "1920 1080 0 0 508 285\n1280 800 1920 0\n",
        "1280 800 0 0", "0 1 2 3\n", "1 1 32767 0\n", "1 2 3\n", "1 1 1 1\n1 1 1 1\n", "1 1 0 0\n" * 17, "\n",
        "1 9999 0 0\n",
        "1 1 5 5\n" * 16, "70000 1 0 0 1 70000\n", holds=_layout_holds, words="1920 1080 32767 508",
    ),
    bytes_target(
        "values.monitorsetting", lambda data: monitorsetting.parse(plain(data)), *map(packed, MONITORS),
        holds=_monitors_hold,
        words="width height x y width_mm height_mm dpi from_dom0",
    ),
    bytes_target(
        "values.modeline", _modeline, b"\x7f\x07\x37\x04", b"\x55\x05\xff\x02", b"\0\0\0\0", b"\x4f\5\xff\2",
        b"\xfe\x7f\xfe\x7f", b"\xff\4\xff\3", b"\x9f\5\x83\3", b"\x4f\6\xdf\3", holds=_modeline_holds, input_max=4,
    ),
    text_target(
        "values.clock", clock.parse, None, "2026-07-31T16:10:43+00:00\n", "2026-07-31T16:10:43+0000",
        "2022-02-30T00:00:00+0000",
        "2000-01-01T00:00:00+0000", "2100-01-01T00:00:00+0000", "", holds=_time_holds, words="+00:00 - : T",
    ),
    bytes_target(
        "values.clockreply", clock.parse_reply, b"2026-07-31T16:10:43+00:00\n",
        b"2026-07-31T16:10:43,123456789+00:00\n",
        b"2026-07-31T16:10:43+00:00", holds=_time_holds, words="+00:00 ,123456789 T",
    ),
    bytes_target(
        "values.feature", _feature, b"gui-default-secure-copy-sequence=Ctrl-Shift-c", b"vm-config.x=y",
        b"service.cups=1",
        b"custom-persist.x=/home", b"custom-persist.x=file:u:g:0644:/a", b"custom-persist.x=../a", b"vm-config.1=",
        b"preload-dispvm=1", b"net.fake-ip=10.0.0.1", b"menu-items=a.desktop b.desktop", b"guii=1", b"x-a=\x1b",
        b"gui-events-max-delay=9999", b"audio-model=x", b"video-model=cirrus", b"vm-confg.a=1", b"boot-mode.name.x=a",
        b"vm-config.x=" + b"y" * 3072, b"prohibit-start=why", b"net.fake-netmask=24", b"preload-dispvm-delay=-1.5",
        b"custom-persist." + b"x" * 55 + b"=/", b"=", b"gui-default-x=1", b"gui-default-trayicon-mode=tint",
        b"service.meminfo-writer=1", b"menu-items=x", b"gui-windows-count-limit=0", holds=_feature_holds,
        words="service. vm-config. custom-persist. gui- gui-default- boot-mode. x- net.fake-ip file: dir: =on disable",
    ),
    bytes_target(
        "values.featurekind", _feature_of_pillar, b"gui\0" + packed(True), b"gui\0" + packed("on"),
        b"gui\0" + packed(1.5),
        b"menu-items\0" + packed(["a.desktop"]), b"menu-items\0" + packed(["a b", ""]), b"x-a\0" + packed(5),
        b"prohibit-start\0" + packed(False), b"gui-startup-timeout\0" + packed(30), b"x-a\0" + packed([]),
        b"net.fake-ip\0" + packed("10.0.0.1"), b"prohibit-start\0" + packed("1"), holds=_feature_of_pillar_holds,
        words="gui menu-items x-a prohibit-start gui-default-startup-timeout os timezone",
    ),
    bytes_target(
        "values.vmproperty", _property, *(
            _property_seed(name, value) for name, value in (
                ("audiovm", "sys-audio"), ("audiovm", False), ("audiovm", 7), ("autostart", "on"), ("label", "red"),
                ("label", 8), ("label", 1.5), ("maxmem", False), ("maxmem", "4GiB"), ("memory", 400),
                ("memory", "=400"),
                ("vcpus", 4), ("vcpus", "512"), ("vcpus", "000000001" + "0" * 9), ("vcpus", "=2"), ("audiovm", "="),
                ("guivm", "none"), ("autostart", "=True"), ("label", "=my"), ("vcpus", []), ("maxmem", "=0"),
            )
        ),
        holds=_property_holds, words="none True False on off 4GiB 512 red",
    ),
    bytes_target(
        "values.ofyaml", _anything, *map(packed, ("on", 0, 1, True, None, 20, "20GiB", [], {}, b"x", 1.5, "work",
            "default")),
        bytes([4, 255, 255, 0]), bytes([8, 1, 4, 255, 255, 0]),
    ),
    bytes_target(
        "values.templaterequest", _request,
        TemplateRequest(
            "qubes-template-debian-13-0:4.3.0-1", "[main]\n", "4.3", (("enablerepo", "x"), ("repoid", "*")), True,
            {"KEY": bytes(range(256)), "other.pem": b""},
        ).render(),
        b"x\n---\n", b"--help\n---\n", b"--repoid=\n---\n", b"x", b"--refresh\n--releasever=4\nx\n---\n\0",
        b"x\n---\na\n###!Q!BEGIN-QUBES-WRAPPER!Q!###\n#/etc/x\n#a2V5\n###!Q!END-QUBES-WRAPPER!Q!###",
        b"x\n---\na\n###!Q!BEGIN-QUBES-WRAPPER!Q!###\n#/etc/qubes/repo-templates/keys/K\n#a\n",
        b"--releasever=/\nx\n---\n",
        b"x\n---\na\n###!Q!BEGIN-QUBES-WRAPPER!Q!###\n#/etc/qubes/repo-templates/keys/-\n#\n",
        holds=_request_holds,
        words="--- --refresh --releasever= --enablerepo= --repoid= ###!Q!BEGIN-QUBES-WRAPPER!Q!###"
        " ###!Q!END-QUBES-WRAPPER!Q!### #/etc/qubes/repo-templates/keys/ [main]",
    ),
    bytes_target(
        "values.featurerequest", _asked, in_pairs({"os": "Linux", "supported-service.cups": "1", "qrexec": "1"}),
        b"gui=x!",
        b"a@b=\nx:y=1", b"x", b"os=\xff", "é=".encode(), b"z=!", holds=_asked_holds,
        words="qrexec= gui= default-user= os= supported-rpc. @ : .",
    ),
    bytes_target(
        "values.webaddress", webaddress.parse, b"https://example.org/?q=1\n", b"http://", b"ftp://x", b"file:///etc",
        b"http://a b",
        "http://\xe9".encode(), b"http://\xff", b"https://" + b"x" * 65530, input_max=66_000,
        holds=lambda value: _same(webaddress.parse(webaddress.render(value)), value),
        words="http:// https:// ftp:// ? #",
    ),
    bytes_target("wire.vmexec", lambda data: vmexec.decode(data.decode("latin-1")), b"ls+--a+-2Fhome", b"-00", b"",
        b"-2f", b"+",
        holds=_command, words="-- -2F -0A + ."),
    bytes_target("wire.vmexec-made", _argv, b"a\nls\n-a\n/home", b"?", b"!\na\xed\xa0\x80", b"\n\n", b"\nx\0", b"a",
        holds=_command, errors=(InvalidValue, UnicodeDecodeError), words="! ? -"),
    text_target("rpc.backuplocation", _line, None, "/mnt/backup", "", "a\nb", "\x7f", "x" * 5000, input_max=6000),
)  # fmt: skip


def _same(one: object, other: object) -> None:
    assert one == other
