"""Pictures of many forms into plain RGBA pixels: with Pillow, GraphicsMagick or ImageMagick, else PNG files alone."""

from __future__ import annotations

import io
import struct
import sys
import tempfile

from vminterface.errors import InvalidValue, OutputTooLarge, ProgramFailed, ProgramMissing, VMInterfaceError, printable
from vminterface.values.image import Image, Limits
from vminterface.vm.handlers.display import pngdecode
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.machine import Machine
from vminterface.vm.machine.programs import Programs

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    from typing import Any

#: Bytes of a picture's file.
FILE_LIMIT = 64 << 20
#: Seconds for one program.
TIMEOUT = 60.0
#: A small file may claim to be a picture that fills the memory.
_BOUNDED = ("prlimit", f"--as={2 << 30}")
#: How files of a form begin: only these are handed on, each by its name, so that no program guesses. What they begin
#: with decides, not what the caller says.
_FORMS = (
    ("png", pngdecode.SIGNATURE),
    ("jpeg", b"\xff\xd8\xff"),
    ("gif", b"GIF8"),
    ("bmp", b"BM"),
    ("tiff", b"II*\0"),
    ("tiff", b"MM\0*"),
    ("ico", b"\0\0\1\0"),
    ("webp", b"RIFF"),
    ("xpm", b"/* XPM"),
)
#: Pillow's modes of more than 8 bits a channel begin so.
_DEEP_MODES = ("I", "F")
SVG = "svg"
NAMES = frozenset((SVG, "jpg", "tif", *(name for name, _ in _FORMS)))
_SVG_MARKS = (b"<svg", b"<?xml", b"<!--", b"<!DOCTYPE svg")


def form(data: bytes) -> str:
    """Return the name of the form that *data* has. Raises InvalidValue."""
    for name, start in _FORMS:
        if data.startswith(start) and (name != "webp" or data[8:12] == b"WEBP"):
            return name
    head = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(_SVG_MARKS) and b"<svg" in data:
        return SVG
    # Without a word of what it is instead: the caller may name any file.
    raise InvalidValue("the picture has an unknown format")


def decode(machine: Machine, data: bytes, limits: Limits, *, fit: int | None = None) -> Image:
    """Return the picture *data*; one without pixels of its own is scaled down to *fit* by *fit* at most.

    Raises InvalidValue (no picture, damaged, over *limits*), ProgramMissing (nothing here reads it), VMInterfaceError.
    """
    name = form(data)
    if name == SVG:
        data = _render(machine, data, fit)
        name = "png"
    first: VMInterfaceError | None = None
    for reader in (_with_pillow, _with_magick, _alone):
        try:
            return reader(machine, name, data, limits)
        except InvalidValue:
            raise
        except VMInterfaceError as error:
            # A program's message about the file is more useful than that another one is missing.
            first = error if first is None or isinstance(first, ProgramMissing) else first
    assert first is not None
    raise first


def _with_pillow(machine: Files, name: str, data: bytes, limits: Limits) -> Image:
    # Handlers start without site-packages, where Pillow is.
    if "site" not in sys.modules:
        import site

        site.main()
    try:
        from PIL import Image as pillow
    except ImportError:
        raise ProgramMissing("Pillow is not installed") from None
    try:
        with pillow.open(io.BytesIO(data), formats=[name.upper()]) as picture:
            width, height = picture.size
            _check(width, height, limits)
            if picture.mode.startswith(_DEEP_MODES):
                # Pillow cuts off what is over 255, and takes any 8 bits for those of a picture.
                grey = pillow.frombytes("L", (width, height), _high_bytes(name, picture.mode, picture))
                return Image(width, height, grey.convert("RGBA").tobytes())
            return Image(width, height, picture.convert("RGBA").tobytes())
    except VMInterfaceError:
        raise
    except Exception as error:  # each of Pillow's readers has errors of its own
        raise ProgramFailed(f"the {name} file cannot be read: {printable(str(error), 100)}") from None


def _high_bytes(name: str, mode: str, picture: Any) -> bytes:
    """Return the high bytes of the 16 bits of each grey pixel.

    Raises ProgramFailed where that is not all there is to say: then another program is to read the file.
    """
    if "transparency" not in picture.info:
        if mode in ("I;16", "I;16L", "I;16B"):
            return bytes(picture.tobytes()[0 if mode == "I;16B" else 1 :: 2])
        if mode == "I" and name == "png":  # as Pillow before 11 reads them: 32 bits in the machine's order
            return bytes(picture.tobytes()[1 if sys.byteorder == "little" else 2 :: 4])
    raise ProgramFailed(f"the {name} file has pixels that Pillow cannot reduce to 8 bits ({printable(mode)})")


def _with_magick(machine: Programs, name: str, data: bytes, limits: Limits) -> Image:
    tool = next((tool for tool in (["gm"], []) if machine.which((tool or ["convert"])[0])), None)
    if tool is None:
        raise ProgramMissing(f"no installed program reads {name} files (expected GraphicsMagick or ImageMagick)")
    with tempfile.NamedTemporaryFile(prefix="qimg-") as file:
        file.write(data)
        file.flush()
        source = f"{name}:{file.name}[0]"
        sizes = _run(machine, [*tool, "identify", "-ping", "-format", "%w %h\n", source], limit=4096)
        words = sizes.split()
        if len(words) < 2 or not all(word.isdigit() and len(word) < 9 for word in words[:2]):
            raise ProgramFailed(f"the {name} file has no size: '{printable(sizes, 40)}'")
        width, height = int(words[0]), int(words[1])
        _check(width, height, limits)
        command = [*tool, "convert", source, "-depth", "8", "rgba:-"]
        try:
            pixels = _run(machine, command, limit=4 * width * height)
        except OutputTooLarge:
            raise ProgramFailed(f"the {name} file has more pixels than its header states") from None
    return Image(width, height, pixels)


def _alone(machine: Files, name: str, data: bytes, limits: Limits) -> Image:
    if name != "png":
        raise ProgramMissing(f"no installed program reads {name} files (expected GraphicsMagick or ImageMagick)")
    return pngdecode.decode(data, limits)


def _check(width: int, height: int, limits: Limits) -> None:
    if not (1 <= width <= limits.width and 1 <= height <= limits.height):
        shown = f"expected 1 to {limits.width} by 1 to {limits.height}"
        raise InvalidValue(f"the picture has {width} by {height} pixels ({shown})")


def _render(machine: Programs, svg: bytes, fit: int | None) -> bytes:
    """Return an SVG picture as a PNG file."""
    if machine.which("rsvg-convert") is None and machine.which("gm") is not None:
        # No larger than that, and no other shape.
        scale = () if fit is None else ("-geometry", f"{fit}x{fit}>")
        return _run(
            machine, ["gm", "convert", "-background", "none", "svg:-", *scale, "-depth", "8", "png:-"], input=svg
        )
    png = _run(machine, ["rsvg-convert"], input=svg)
    width, height = struct.unpack(">II", png[16:24].ljust(8, b"\0"))
    if fit is None or (width <= fit and height <= fit):
        return png
    return _run(machine, ["rsvg-convert", "-a", "-w", str(fit), "-h", str(fit)], input=svg)


def _run(machine: Programs, command: list[str], *, input: bytes = b"", limit: int = FILE_LIMIT) -> bytes:
    """Run a program that reads what somebody else made, with bounds of time and memory."""
    if machine.which(command[0]) is None:
        raise ProgramMissing(f"the program {command[0]} is not installed")
    bounded = _BOUNDED if machine.which(_BOUNDED[0]) else ()
    return machine.run([*bounded, *command], input=input, timeout=TIMEOUT, limit=limit)
