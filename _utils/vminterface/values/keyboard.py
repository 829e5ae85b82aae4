"""A keyboard's layout, as three names (``keyboard-layout``, R4.1 and later) and as a keymap (``qubes-keyboard``).

The three are what ``setxkbmap`` takes: layout, variant, options. The keymap is what ``setxkbmap -print`` prints and
``xkbcomp`` reads. Forms: vm-interface document, Qubes core-admin, and the file ``rules/evdev`` of xkeyboard-config.
"""

from __future__ import annotations

import re
from typing import Final

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex
from vminterface.value import Value
from vminterface.values import schema

#: X has room for four layouts side by side, which it calls groups.
_GROUPS = 4
_TEXT_LIMIT = 255
#: The longest value that QubesDB takes, in bytes.
_KEYMAP_LIMIT = 3071

_LAYOUT = regex(r"[A-Za-z]+(?:,[A-Za-z]+)*")
#: A leading ``-`` would be taken for an option of setxkbmap.
_VARIANT = regex(r"(?:[A-Za-z0-9_][A-Za-z0-9_-]*)?(?:,(?:[A-Za-z0-9_][A-Za-z0-9_-]*)?)*")
_OPTIONS = regex(r"(?:[A-Za-z0-9_][A-Za-z0-9_:-]*(?:,[A-Za-z0-9_][A-Za-z0-9_:-]*)*)?")

_OPENING = regex(r'xkb_keymap[ \n\t]*(?:"[^"\n]*"[ \n\t]*)?\{')
_TEXT = regex(r"[ -~\n\t]*")
#: Strings and comments whole, so that braces within them do not count; a quote left over is one without its pair.
_TOKEN = regex(r'"[^"\n]*"|(?://|#)[^\n]*|["{}]')
_BLANK = regex(r"(?:[ \n\t;]|(?://|#)[^\n]*(?:\n|\Z))*")
_ESCAPE = regex(r"\\(?:([nt\\])|x([0-9A-Fa-f]{2}))?")

#: What :meth:`KeyboardLayout.parse` and :meth:`Keymap.parse` take.
LAYOUT_SCHEMA = schema.text(
    rf"(?![A-Za-z]*(?:,[A-Za-z]*){{{_GROUPS}}}){_LAYOUT.pattern}(?:\+{_VARIANT.pattern}(?:\+{_OPTIONS.pattern})?)?",
    most=_TEXT_LIMIT,
)
KEYMAP_SCHEMA = schema.text(f"{_OPENING.pattern}{_TEXT.pattern}", most=_KEYMAP_LIMIT)

# What rules/evdev says of single layouts, for a keyboard of model pc105.
_ALIASES = {"azerty": ("be", "fr"), "qwertz": ("al", "ch", "cz", "de", "hr", "hu", "ro", "si", "sk")}
_NEO = ("neo", "adnw", "koy", "bone", "bone_eszett_home", "neo_qwertz", "neo_qwerty")
_NEO_PARTS = ("caps(caps_lock)", "misc(assign_shift_left_action)", "level5(level5_lock)")


class KeyboardLayout(Value):
    """One to four layouts, comma-separated, their variants likewise, and options for all of them."""

    __slots__ = ("layout", "options", "variant")

    def __init__(self, layout: str, variant: str = "", options: str = "") -> None:
        self.layout: Final = layout
        self.variant: Final = variant
        self.options: Final = options

    @classmethod
    def parse(cls, text: str) -> KeyboardLayout:
        """Read ``layout``, ``layout+variant`` or ``layout+variant+options``. Raises InvalidValue.

        Layouts are letters. Several need either no variant at all or one for each, of which some may be empty:
        ``us,de+,nodeadkeys``.
        """
        parts = text.split("+") if len(text) <= _TEXT_LIMIT else []
        if not 1 <= len(parts) <= 3:
            raise InvalidValue(
                f"'{printable(text, 60)}' is not a valid keyboard layout (expected layout+variant+options, the last two"
                f" optional, {_TEXT_LIMIT} characters at most)"
            )
        layout, variant, options = [*parts, "", ""][:3]
        if not _LAYOUT.fullmatch(layout) or layout.count(",") >= _GROUPS:
            raise InvalidValue(
                f"'{printable(layout, 60)}' is not a valid keyboard layout (expected letters, or up to {_GROUPS} such"
                f" with"
                " commas between)"
            )
        if not _VARIANT.fullmatch(variant) or (variant and variant.count(",") != layout.count(",")):
            raise InvalidValue(
                f"'{printable(variant, 60)}' is not a valid variant of the keyboard layout '{printable(layout, 60)}'"
                f" (expected"
                " letters, digits, '-' and '_', for each of its layouts one or nothing, with commas between)"
            )
        if not _OPTIONS.fullmatch(options):
            raise InvalidValue(
                f"'{printable(options, 60)}' is not a valid list of keyboard options (expected some such as"
                f" compose:caps, with commas"
                " between)"
            )
        return cls(layout, variant if variant.strip(",") else "", options)

    def render(self) -> str:
        """Return the key's text, with both ``+``: dom0's own tools refuse fewer."""
        return f"{self.layout}+{self.variant}+{self.options}"

    @property
    def groups(self) -> tuple[tuple[str, str], ...]:
        """The layouts in order, each with its variant."""
        layouts = self.layout.split(",")
        variants = self.variant.split(",") if self.variant else [""] * len(layouts)
        return tuple(zip(layouts, variants, strict=True))

    def keymap(self) -> Keymap:
        """Return what ``setxkbmap -print`` prints for these layouts on a pc105 keyboard with the evdev rules.

        Options are left out: what they stand for is known to the rules' files alone, which the VM has.
        """
        groups = self.groups
        first = groups[0][0]
        aliases = next((name for name, layouts in _ALIASES.items() if first in layouts), "qwerty")
        compat = "complete+japan" if len(groups) == 1 and first == "jp" else "complete"
        symbols = "pc"
        for number, (layout, variant) in enumerate(groups, 1):
            suffix = f":{number}" if number > 1 else ""
            symbols += f"+{layout}({variant}){suffix}" if variant else f"+{layout}{suffix}"
            if layout == "de" and variant in _NEO:
                compat += "".join(f"+{part}{suffix}" for part in _NEO_PARTS)
        parts = {
            "keycodes": f"evdev+aliases({aliases})",
            "types": "complete",
            "compat": compat,
            "symbols": f"{symbols}+inet(evdev)",
            "geometry": "pc(pc105)",
        }
        lines = "".join(f'\t{"xkb_" + name:<13} {{ include "{include}"\t}};\n' for name, include in parts.items())
        return Keymap(f"xkb_keymap {{\n{lines}}};\n")


class Keymap(Value):
    """A keymap's source text, ``xkb_keymap { ... };``, with real newlines."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text: Final = text

    @classmethod
    def parse(cls, text: str) -> Keymap:
        """Read a keymap: one ``xkb_keymap`` block, braces in pairs, printable ASCII, newlines and tabs.

        At most 3071 bytes. Whether the includes within it lead anywhere is known to xkbcomp alone. Raises InvalidValue.
        """
        if len(text) > _KEYMAP_LIMIT:
            raise InvalidValue(f"a keymap of {len(text)} bytes is too long (expected at most {_KEYMAP_LIMIT})")
        if not _TEXT.fullmatch(text):
            raise InvalidValue(
                f"'{printable(text, 60)}' is not a valid keymap (expected printable ASCII, newlines and tabs)"
            )
        if not _OPENING.match(text):
            raise InvalidValue(f"'{printable(text, 60)}' is not a valid keymap (expected 'xkb_keymap {{' at its start)")
        depth = 0
        end = None
        for token in _TOKEN.finditer(text):
            depth += {"{": 1, "}": -1}.get(token[0], 0)
            if token[0] == '"' or depth < 0:
                break
            if token[0] == "}" and depth == 0:
                end = token.end()
                break
        if end is None or not _BLANK.fullmatch(text, end):
            raise InvalidValue(
                f"'{printable(text, 60)}' is not a valid keymap (expected one block with braces and quotes in pairs)"
            )
        return cls(text)

    @classmethod
    def from_escaped(cls, text: str) -> Keymap:
        """Read a keymap as the stores' tools print it. Raises InvalidValue.

        ``\\n``, ``\\t``, ``\\\\`` and ``\\xHH`` stand for one byte each; other escapes do not exist.
        """
        # Four characters of text are one byte at least: what is longer cannot become a keymap that fits.
        if len(text) > 4 * _KEYMAP_LIMIT:
            raise InvalidValue(
                f"a keymap of {len(text)} escaped bytes is too long (expected at most {4 * _KEYMAP_LIMIT})"
            )
        for escape in _ESCAPE.finditer(text):
            if escape[0] == "\\":
                found = printable(text[escape.start() : escape.start() + 4], 60)
                raise InvalidValue(f"'{found}' is not a valid escape in a keymap (expected \\n, \\t, \\\\ or \\xHH)")
        return cls.parse(_ESCAPE.sub(_expand, text))

    def render(self) -> str:
        """Return the key's text."""
        return self.text


def _expand(escape: re.Match[str]) -> str:
    return chr(int(escape[2], 16)) if escape[2] else {"n": "\n", "t": "\t", "\\": "\\"}[escape[1]]
