"""Whether a VM may call a service of another one: a file of rules, the first that fits decides, none is a refusal.

A line is ``SERVICE ARGUMENT SOURCE TARGET ACTION [user=NAME] [target=VM]`` as in Qubes' ``policy.d``, with ``*`` for
any service or argument, ``+ARGUMENT``, a VM's name, ``@anyvm`` and ``@adminvm``, and ``allow``, ``deny`` or ``ask``. As
there is nobody to be asked, ``ask`` is a refusal.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.qrexec.command import Command
from vminterface.errors import printable

DEFAULT = """# Which VM of the lab may call which service of which: the first line that fits.
# SERVICE            ARGUMENT  SOURCE  TARGET  ACTION
qubes.Filecopy       *         @anyvm  @anyvm  ask
*                    *         @anyvm  @anyvm  deny
"""
_LIMIT = 65536
_ACTIONS = ("allow", "deny", "ask")
_OPTIONS = ("user", "target")


class BadPolicy(Exception):
    """A line that is no rule. Everything is refused then."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a rule lets happen: the call in *target* as *user*, who may be ``DEFAULT``."""

    target: str
    user: str


def decide(text: str, command: Command, target: str, where: str = "policy") -> Allowed | None:
    """Return what *text* allows, None for a refusal. Raises BadPolicy, wherever in the file it is."""
    decision: Allowed | None = None
    decided = False
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        options = dict(word.split("=", 1) for word in words[5:] if "=" in word)
        well_formed = len(words) == 5 + len(options) and words[4] in _ACTIONS and set(options) <= set(_OPTIONS)
        if not well_formed or not (words[1] == "*" or words[1].startswith("+")):
            raise BadPolicy(f"{where}:{number}: '{printable(line.strip(), 80)}' is no rule")
        if not decided and _fits(words, command, target):
            decided = True
            if words[4] == "allow":
                decision = Allowed(options.get("target", target), options.get("user", "DEFAULT"))
    return decision


def decide_by(file: Path, command: Command, target: str) -> Allowed | None:
    """Return what the rules in *file* allow; without it, nothing is. Raises BadPolicy."""
    try:
        with file.open(encoding="utf-8") as stream:
            text = stream.read(_LIMIT + 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BadPolicy(f"{file}: {error}") from None
    if len(text) > _LIMIT:
        raise BadPolicy(f"{file}: longer than {_LIMIT} characters")
    return decide(text, command, target, str(file))


def _fits(words: list[str], command: Command, target: str) -> bool:
    service, argument, source, to, *_ = words
    return (
        service in ("*", command.service)
        and argument in ("*", f"+{command.argument or ''}")
        and _is(source, command.source)
        and _is(to, target)
    )


def _is(rule: str, vm: str) -> bool:
    if rule == "@adminvm":
        return vm == "dom0"
    return rule == vm or (rule == "@anyvm" and vm != "dom0" and vm[:1] != "@")
