"""GetImageRGBA with real pictures: the first line only where the pixels follow, whoever decodes them."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.handlers import VM, Reply
from tests.support.stores import need
from vminterface.errors import InvalidValue, ProgramMissing, VMInterfaceError
from vminterface.values.image import PICTURE, Image, Limits
from vminterface.vm.handlers.display import pictures
from vminterface.vm.machine.machine import Machine

SERVICE = "qubes.GetImageRGBA"
TWO = Image(2, 1, bytes.fromhex("ff0000ff00ff0080"))
SVG = (
    b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d">'
    b'<rect width="100%%" height="100%%" fill="#0000ff"/></svg>'
)


@pytest.fixture
def alone(tmp_path: Path) -> str:
    """A PATH without any program for pictures."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("env", "sh"):
        (folder / name).symlink_to(shutil.which(name) or "/bin/sh")
    return str(folder)


def picture(reply: Reply) -> Image:
    assert (reply.status, reply.stderr) == (0, "")
    image = Image.parse(reply.stdout, PICTURE)
    assert reply.stdout == image.render()
    return image


def made(form: str, image: Image) -> bytes:
    """Return *image* in another form, by GraphicsMagick."""
    need("" if shutil.which("gm") else "no gm (Debian package graphicsmagick)")
    size = f"{image.width}x{image.height}"
    command = ["gm", "convert", "-size", size, "-depth", "8", "rgba:-", f"{form}:-"]
    return subprocess.run(command, input=image.rgba, check=True, capture_output=True, timeout=20).stdout


@pytest.mark.parametrize("line", [b"-\n", b"png:-\n", b"PNG:-\n"])
def test_a_picture_that_is_sent_comes_back_as_pixels(vm: VM, line: bytes) -> None:
    reply = vm.call(SERVICE, line + TWO.to_png())
    assert reply.stdout == bytes.fromhex("3220310aff0000ff00ff0080")
    assert picture(reply) == TWO


def test_a_file_is_sent(vm: VM) -> None:
    vm.write("home/user/a picture", TWO.to_png())
    assert picture(vm.call(SERVICE, b"/home/user/a picture\n")) == TWO


def test_an_icon_is_found_by_its_name(vm: VM) -> None:
    vm.write("usr/share/icons/hicolor/index.theme", "[Icon Theme]\nDirectories=48x48/apps\n[48x48/apps]\nSize=48\n")
    vm.write("usr/share/icons/hicolor/48x48/apps/firefox.png", TWO.to_png())
    assert picture(vm.call(SERVICE, b"xdgicon:firefox\n")) == TWO
    assert vm.call(SERVICE, b"xdgicon:chromium\n").refused(SERVICE) == "no theme has an icon chromium"


@pytest.mark.parametrize("form", ["gif", "bmp", "tiff", "xpm", "jpeg"])
def test_other_forms_are_read_by_a_program(vm: VM, form: str) -> None:
    red = Image(8, 4, bytes([255, 0, 0, 255]) * 32)
    got = picture(vm.call(SERVICE, b"-\n" + made(form, red)))
    assert (got.width, got.height) == (8, 4)
    assert all(abs(a - b) <= 2 for a, b in zip(got.rgba, red.rgba, strict=True))


def test_a_drawing_is_rendered_and_only_an_icon_scaled_down(vm: VM) -> None:
    need("" if shutil.which("rsvg-convert") else "no rsvg-convert (Debian package librsvg2-bin)")
    sent = picture(vm.call(SERVICE, b"-\n" + SVG % (600, 1200)))
    assert (sent.width, sent.height) == (600, 1200)
    assert sent.rgba[:4] == bytes([0, 0, 255, 255])
    vm.write("usr/share/pixmaps/large.svg", SVG % (600, 1200))
    vm.write("usr/share/pixmaps/small.svg", SVG % (24, 16))
    icon = picture(vm.call(SERVICE, b"xdgicon:large\n"))
    assert (icon.width, icon.height) == (256, 512)
    small = picture(vm.call(SERVICE, b"xdgicon:small\n"))
    assert (small.width, small.height) == (24, 16)


def test_png_needs_no_program_at_all(vm: VM, alone: str) -> None:
    assert picture(vm.call(SERVICE, b"-\n" + TWO.to_png(), PATH=alone)) == TWO


def test_what_needs_a_program_says_which(vm: VM, alone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", alone)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ProgramMissing, match="no installed program reads gif files"):
        pictures.decode(Machine(str(vm.root)), b"GIF89a", PICTURE)


def test_a_program_is_enough_where_none_bounds_its_memory(vm: VM, alone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gif = made("gif", TWO)
    Path(alone, "gm").symlink_to(shutil.which("gm") or "")
    monkeypatch.setenv("PATH", alone)
    monkeypatch.setitem(sys.modules, "PIL", None)
    got = pictures.decode(Machine(str(vm.root)), gif, PICTURE)
    assert (got.width, got.height) == (2, 1)


def test_a_drawing_needs_a_program_too(vm: VM, alone: str) -> None:
    reason = vm.call(SERVICE, b"-\n" + SVG % (2, 2), PATH=alone).refused(SERVICE)
    assert reason == "the program rsvg-convert is not installed"


def test_a_drawing_that_would_fill_the_memory_is_refused(vm: VM) -> None:
    need("" if shutil.which("rsvg-convert") else "no rsvg-convert (Debian package librsvg2-bin)")
    vm.call(SERVICE, b"-\n" + SVG % (32000, 32000)).refused(SERVICE)


@pytest.mark.parametrize("reader", ["_with_pillow", "_with_magick", "_alone"])
def test_every_reader_gives_the_same_pixels(vm: VM, reader: str) -> None:
    need("" if shutil.which("gm") or reader != "_with_magick" else "no gm (Debian package graphicsmagick)")
    need("" if find_spec("PIL") or reader != "_with_pillow" else "no Pillow (pip install Pillow)")
    read, machine = getattr(pictures, reader), Machine(str(vm.root))
    assert read(machine, "png", TWO.to_png(), PICTURE) == TWO
    with pytest.raises(InvalidValue, match="2 by 1 pixels"):
        read(machine, "png", TWO.to_png(), Limits(1, 1))
    with pytest.raises(VMInterfaceError):
        read(machine, "png", TWO.to_png()[:50], PICTURE)


def grey_png(*, transparent: int | None = None) -> bytes:
    """Return a PNG file of four grey pixels of 16 bits that are 0, 1, 128 and 255 in 8."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    see_through = b"" if transparent is None else chunk(b"tRNS", struct.pack(">H", transparent))
    rows = b"\0" + struct.pack(">4H", 0, 257, 128 * 257, 65535)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 1, 16, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + see_through + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("reader", ["_with_pillow", "_with_magick", None])
def test_grey_of_16_bits_is_made_grey_of_8(vm: VM, reader: str | None) -> None:
    need("" if shutil.which("gm") or reader != "_with_magick" else "no gm (Debian package graphicsmagick)")
    need("" if find_spec("PIL") or reader == "_with_magick" else "no Pillow (pip install Pillow)")
    machine = Machine(str(vm.root))
    if reader is None:
        got = pictures.decode(machine, grey_png(), PICTURE)
    else:
        got = getattr(pictures, reader)(machine, "png", grey_png(), PICTURE)
    assert (got.width, got.height) == (4, 1)
    assert got.rgba == b"".join(bytes([grey, grey, grey, 255]) for grey in (0, 1, 128, 255))


@pytest.mark.parametrize("form", ["png", "tiff"])
def test_what_pillow_would_spoil_another_program_reads(vm: VM, form: str) -> None:
    need("" if shutil.which("gm") else "no gm (Debian package graphicsmagick)")
    need("" if find_spec("PIL") else "no Pillow (pip install Pillow)")
    if form == "png":
        data = grey_png(transparent=257)
    else:
        # Of 32 bits a pixel, as measured data have them.
        command = ["gm", "convert", "-depth", "32", "png:-", "tiff:-"]
        data = subprocess.run(command, input=grey_png(), check=True, capture_output=True, timeout=20).stdout
    got = pictures.decode(Machine(str(vm.root)), data, PICTURE)
    assert got.rgba[0::4] == bytes((0, 1, 128, 255))
    assert got.rgba[3::4] == (bytes((255, 0, 255, 255)) if form == "png" else b"\xff" * 4)


def test_a_drawing_by_graphicsmagick_alone_is_as_transparent_and_as_large(
    vm: VM, alone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("" if shutil.which("gm") else "no gm (Debian package graphicsmagick)")
    Path(alone, "gm").symlink_to(shutil.which("gm") or "")
    monkeypatch.setenv("PATH", alone)
    for pillow in (True, False):
        if not pillow:
            monkeypatch.setitem(sys.modules, "PIL", None)
        machine = Machine(str(vm.root))
        half = (SVG % (600, 1200)).replace(b'width="100%"', b'width="300"')
        whole = pictures.decode(machine, half, PICTURE)
        assert (whole.width, whole.height) == (600, 1200)
        assert whole.rgba[:4] == bytes([0, 0, 255, 255])
        assert whole.rgba[4 * 599 + 3] == 0
        fitted = pictures.decode(machine, half, PICTURE, fit=512)
        assert (fitted.width, fitted.height) == (256, 512)
        assert (fitted.rgba[3], fitted.rgba[4 * 255 + 3]) == (255, 0)
        small = pictures.decode(machine, SVG % (24, 16), PICTURE, fit=512)
        assert (small.width, small.height) == (24, 16)


@pytest.mark.parametrize("tools", [True, False])
def test_a_picture_that_breaks_off_gives_no_first_line(vm: VM, alone: str, tools: bool) -> None:
    data = TWO.to_png()
    path = os.environ["PATH"] if tools else alone
    for length in range(0, len(data) - 12, 7):
        vm.call(SERVICE, b"-\n" + data[:length], PATH=path).refused(SERVICE)


def test_a_picture_over_the_limits_is_refused(vm: VM) -> None:
    wide = Image(PICTURE.width + 1, 1, bytes(4 * (PICTURE.width + 1)))
    assert "8193 by 1 pixels" in vm.call(SERVICE, b"-\n" + wide.to_png()).refused(SERVICE)
    icon = Image(2049, 1, bytes(4 * 2049))
    vm.write("usr/share/pixmaps/wide.png", icon.to_png())
    assert "2049 by 1 pixels" in vm.call(SERVICE, b"xdgicon:wide\n").refused(SERVICE)
    assert picture(vm.call(SERVICE, b"/usr/share/pixmaps/wide.png\n")) == icon


def test_nothing_is_left_in_the_folder_of_temporary_files(vm: VM, tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    for data in (TWO.to_png(), TWO.to_png()[:40], b"GIF89a"):
        vm.call(SERVICE, b"-\n" + data, TMPDIR=str(folder))
    assert not list(folder.iterdir())


def test_a_pipe_does_not_hold_the_call(vm: VM) -> None:
    os.mkfifo(vm.root / "pipe")
    assert vm.call(SERVICE, b"/pipe\n").refused(SERVICE) == "/pipe: is a named pipe (expected a regular file)"


def test_a_file_of_another_kind_is_refused_without_a_word_of_its_content(vm: VM) -> None:
    vm.write("etc/secret", "password\n")
    assert "password" not in vm.call(SERVICE, b"/etc/secret\n").refused(SERVICE)
