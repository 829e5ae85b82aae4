"""Input that no handler may take: a status, one line, and nothing in the VM has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.handlers import VM

VALID = {
    "qubes.SetMonitorLayout": b"1920 1080 0 0 508 285\n",
    "qubes.SetDateTime": b"2027-07-31T16:10:43+00:00\n",
    "qubes.SetGuiMode": b"SEAMLESS",
    "qubes.ResizeDisk": b"private",
    "qubes.DetachPciDevice": b"00:06.0",
    "qubes.GetImageRGBA": b"xdgicon:nothing-of-the-kind\n",
}
GARBAGE = {
    "nothing": b"",
    "an empty line": b"\n",
    "blanks": b"   \n",
    "a NUL": b"\0",
    "NULs": b"\0" * 4096,
    "1 MiB": bytes(range(256)) * 4096,
    "1 MiB of digits": b"1" * (1 << 20) + b"\n",
    "non-ASCII": "zażółć gęślą jaźń\n".encode(),
    "not UTF-8": b"\xff\xfe\xfd\n",
    "digits of another script": "\u0661\u0669\u0662\u0660 \u0661 \u0660 \u0660\n".encode(),
    "an escape sequence": b"\x1b]0;title\x07\n",
    "too many lines": b"1920 1080 0 0\n" * 17,
    "100,000 lines": b"\n" * 100_000,
    "an option": b"--help\n",
    "a path": b"../../etc/shadow\n",
    "a command": b"$(touch /tmp/x); `id`\n",
}
OUT_OF_RANGE = {
    "qubes.SetMonitorLayout": [
        b"1920 1080 0 0",
        b"0 1080 0 0\n",
        b"16385 1080 0 0\n",
        b"1920 6145 0 0\n",
        b"1920 1080 0 32768\n",
        b"1920 1080 0 0 65536 1\n",
        b"1920 1080 -1 0\n",
        b"1920 1080 0 0 508\n",
        b"1920 1080 0 0 508 285 1\n",
        b"1920  1080 0 0\n",
        b"1920 1080 0 0\r\n",
        b"01920 1080 0 0\n",
        b"1920 1080 0 0\n\n",
        b"1920 1080 0 0\n1280 x 0 0\n",
    ],
    "qubes.SetDateTime": [
        b"tomorrow\n",
        b"2027-02-29T00:00:00+00:00\n",
        b"2027-07-31T24:00:00+00:00\n",
        b"2027-07-31T16:10:60+00:00\n",
        b"2027-07-31T16:10:43+02:00\n",
        b"2027-07-31T16:10:43\n",
        b"1970-01-01T00:00:00+00:00\n",
        b"2027-07-31T16:10:43+00:00\n2027-07-31T16:10:43+00:00\n",
    ],
    "qubes.SetGuiMode": [b"seamless", b"SEAMLESS ", b"SEAMLESS\n\n", b"FULLSCREENSEAMLESS", b"FULLSCREEN\r\n"],
    "qubes.ResizeDisk": [b"volatile", b"PRIVATE", b"private root", b"/dev/xvdb", b"private\n\n"],
    "qubes.DetachPciDevice": [b"00:20.0", b"00:06.8", b"00:06", b"0:06.0", b"00:06.0/../x", b"00:06.0\n\n", b"00:0G.0"],
    "qubes.GetImageRGBA": [
        b"xdgicon:\n",
        b"xdgicon:../../../etc/passwd\n",
        b"xdgicon:.hidden\n",
        b"/nonexistent\n",
        b"/dev/zero\n",
        b"/etc\n",
        b"/etc/motd\n",
        b"-\n",
        b"-\nno picture",
        b"msl:-\n<image/>",
        b"/" + b"x" * 5000 + b"\n",
    ],
}


@pytest.fixture
def vm(tmp_path: Path) -> VM:
    one = VM(tmp_path / "vm")
    one.write("etc/motd", "hello\n")
    one.write("run/vminterface/clock-offset", "0\n")
    one.write("run/vminterface/gui-mode", "FULLSCREEN\n")
    one.write("etc/qubes/gui-mode.d/hook", f"#!/bin/sh\ntouch {one.root}/hook-was-run\n", 0o755)
    one.write("sys/bus/pci/devices/0000:00:06.0/driver/unbind")
    return one


def refused(vm: VM, service: str, data: bytes, *arguments: str) -> str:
    """Check that *data* is refused and nothing has changed; return the reason."""
    before = vm.content()
    reason = vm.call(service, data, *arguments, DISPLAY=":65000").refused(service)
    assert vm.content() == before
    assert len(reason) <= 400
    return reason


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("service", VALID)
def test_garbage_is_refused(vm: VM, service: str, garbage: str) -> None:
    refused(vm, service, GARBAGE[garbage])


@pytest.mark.parametrize("service", OUT_OF_RANGE)
def test_what_is_almost_right_is_refused(vm: VM, service: str) -> None:
    for data in OUT_OF_RANGE[service]:
        refused(vm, service, data)


@pytest.mark.parametrize(
    ("service", "complete"),
    [
        # How many of the last bytes may be missing: the line's end, where it is one.
        ("qubes.SetMonitorLayout", 0),
        ("qubes.SetDateTime", 1),
        ("qubes.SetGuiMode", 0),
        ("qubes.ResizeDisk", 0),
        ("qubes.DetachPciDevice", 0),
    ],
)
def test_a_message_that_breaks_off_is_refused_at_every_byte(vm: VM, service: str, complete: int) -> None:
    message = VALID[service]
    for length in range(len(message) - complete):
        refused(vm, service, message[:length])


@pytest.mark.parametrize("service", [*VALID, "qubes.WaitForSession", "qubes.GetAppmenus"])
def test_an_argument_is_refused_where_none_is_known(vm: VM, service: str) -> None:
    assert "takes no argument, and was given 'x'" in refused(vm, service, VALID.get(service, b""), "x")


def test_a_caller_without_a_name_is_refused(vm: VM) -> None:
    for service, data in VALID.items():
        assert "calling VM" in vm.call(service, data, source="../x").refused(service)


def test_a_caller_that_keeps_its_side_open_gets_its_line_answered(vm: VM) -> None:
    process = vm.start("qubes.GetImageRGBA")
    with process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"/nonexistent\n")
        process.stdin.flush()
        assert process.stderr.read().startswith(b"qubes.GetImageRGBA: /nonexistent ")
        assert process.wait(10) == 1
