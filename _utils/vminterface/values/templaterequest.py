"""What dom0 sends to ``qubes.TemplateSearch`` and ``qubes.TemplateDownload``: which templates, of which repositories.

Lines with options, one with the package, ``---``, then the repositories as dnf has them, and the keys that these name,
each in a comment of its own. Sources: Qubes core-admin-client ``qvm_template.py`` (``qrexec_payload``), and
core-agent-linux ``qvm-template-repo-query``. What would be an option to dnf in another place is refused.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex

#: Where dom0's keys are; a name below it is all that travels.
KEYS = "/etc/qubes/repo-templates/keys/"
#: Bytes of a request.
LIMIT = 1 << 20
_BEGIN, _END = "###!Q!BEGIN-QUBES-WRAPPER!Q!###", "###!Q!END-QUBES-WRAPPER!Q!###"
_SEPARATOR = "---"
_REFRESH = "--refresh"
_OPTION = regex(r"--(enablerepo|disablerepo|repoid|releasever)=(.*)\Z", re.DOTALL)
_REPOSITORY = regex(r"[A-Za-z0-9._:*?-]{1,255}\Z", re.ASCII)
_RELEASE = regex(r"[A-Za-z0-9._-]{1,64}\Z", re.ASCII)
_SPEC = regex(r"[A-Za-z0-9*?\[][A-Za-z0-9._+~:*?\[\]!^-]{0,254}\Z", re.ASCII)
_KEY = regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class TemplateRequest:
    """A request for the packages that *spec* names, such as ``qubes-template-debian-13*``.

    *repositories* are pairs of ``enablerepo``, ``disablerepo`` or ``repoid`` and a name or pattern; *keys* are by name.
    Raises InvalidValue.
    """

    spec: str
    config: str
    release: str = ""
    repositories: tuple[tuple[str, str], ...] = ()
    refresh: bool = False
    keys: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(_SPEC, self.spec, "package of a template", "letters, digits and . _ + ~ : ^ - * ? [ ] !")
        if self.release:
            _check(_RELEASE, self.release, "release", "letters, digits and . _ -")
        for option, name in self.repositories:
            if option not in ("enablerepo", "disablerepo", "repoid"):
                raise InvalidValue(f"'{printable(option, 40)}' is not a valid choice of repositories")
            _check(_REPOSITORY, name, "repository", "letters, digits and . _ : - * ?")
        for name in self.keys:
            _check(_KEY, name, "name of a key", "letters, digits and . _ + -")
        if _BEGIN in self.config or "\0" in self.config:
            raise InvalidValue("the repositories contain the line that ends them (expected a dnf configuration)")

    def render(self) -> bytes:
        """Return the bytes that are sent. Raises InvalidValue for more than LIMIT bytes."""
        lines = [f"--{option}={name}" for option, name in self.repositories]
        lines += [_REFRESH] if self.refresh else []
        lines += [f"--releasever={self.release}"] if self.release else []
        text = "\n".join([*lines, self.spec, _SEPARATOR, self.config])
        if self.keys:
            encoded = [f"#{KEYS}{name}\n#{base64.b64encode(key).decode('ascii')}" for name, key in self.keys.items()]
            text = "\n".join([text, _BEGIN, *encoded, _END])
        data = text.encode("utf-8", "surrogateescape")
        if len(data) > LIMIT:
            raise InvalidValue(f"the repositories and their keys are too long (expected at most {LIMIT} bytes)")
        return data

    @classmethod
    def parse(cls, untrusted_request: bytes) -> TemplateRequest:
        """Read what was sent. Raises InvalidValue."""
        head, separator, rest = untrusted_request.decode("utf-8", "surrogateescape").partition(f"\n{_SEPARATOR}\n")
        if not separator:
            raise InvalidValue(f"the request has no line '{_SEPARATOR}'")
        repositories: list[tuple[str, str]] = []
        spec, release, refresh = "", "", False
        for line in head.split("\n"):
            if found := _OPTION.match(line):
                if found[1] == "releasever":
                    release = found[2]
                else:
                    repositories.append((found[1], found[2]))
            elif line == _REFRESH:
                refresh = True
            else:
                spec = line
        config, begin, wrapped = rest.partition(f"\n{_BEGIN}\n")
        keys = _unwrapped(wrapped) if begin else {}
        return cls(spec, config, release, tuple(repositories), refresh, keys)


def _check(pattern: re.Pattern[str], text: str, what: str, expected: str) -> None:
    if not pattern.match(text):
        raise InvalidValue(
            f"'{printable(text, 60)}' is not a valid {what} (expected {expected}, not starting with '-')"
        )


def _unwrapped(text: str) -> dict[str, bytes]:
    lines = text.partition(_END)[0].split("\n")
    keys = {}
    for path, encoded in zip(lines[::2], lines[1::2], strict=False):
        name = path.removeprefix(f"#{KEYS}")
        if name == path or not encoded.startswith("#"):
            raise InvalidValue(f"'{printable(path, 80)}' is not a valid key of a repository (expected one in {KEYS})")
        try:
            keys[name] = base64.b64decode(encoded[1:], validate=True)
        except (binascii.Error, ValueError):
            raise InvalidValue(f"the key {printable(name, 60)} is not valid base64") from None
    return keys
