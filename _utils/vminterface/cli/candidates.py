"""What may come next on the command line: the words of the parser, VMs, fields and their values, services.

A shell asks while somebody waits for it with a key pressed: so nothing here takes longer than :data:`WITHIN`, what
cannot be had by then is left out, without any error.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vminterface.errors import VMInterfaceError

#: Seconds that the stores have to name VMs.
WITHIN = 1.0
#: Kinds of words that the shell itself completes.
FILES, DIRS, WORDS = "files", "dirs", "words"
#: Commands about VMs that need not run.
_OF_QUBESD = ("export", "features", "services")
#: Fields whose value is the name of a VM.
_VM_FIELDS = ("netvm", "guivm", "audiovm", "base_template")
#: Bytes of the list of time zones that are read.
_ZONES_MOST = 1 << 20


@dataclass(slots=True)
class Candidates:
    """What may stand in one place: words with what each does, or what the shell knows (*kind*)."""

    kind: str = WORDS
    words: dict[str, str] = field(default_factory=dict)

    def beginning(self, current: str) -> Candidates:
        """Return those that begin with *current*."""
        return Candidates(self.kind, {word: does for word, does in self.words.items() if word.startswith(current)})


@dataclass(slots=True)
class _Line:
    """The words of a command before the current one, as the parser would take them."""

    command: str
    current: str
    #: How many words are neither options nor values of these.
    positionals: int = 0
    #: The option whose value comes next.
    pending: argparse.Action | None = None
    given: set[str] = field(default_factory=set)
    values: dict[str, str] = field(default_factory=dict)
    only_positionals: bool = False


def find(parser: argparse.ArgumentParser, words: Sequence[str]) -> Candidates:
    """Return what the last of *words*, those behind the command's name, may become; it may be empty."""
    *before, current = words or [""]
    commands = _commands(parser)
    at = next((number for number, word in enumerate(before) if not word.startswith("-")), None)
    if at is None:
        return (_options(parser, set()) if current.startswith("-") else _named(commands)).beginning(current)
    if before[at] not in commands:
        return Candidates()
    sub = commands[before[at]][0]
    line = _line(sub, before[at], before[at + 1 :], current)
    if line.pending is not None:
        action: argparse.Action | None = line.pending
    elif current.startswith("-") and not line.only_positionals:
        return _options(sub, line.given).beginning(current)
    else:
        action = _positional(sub, line.positionals)
    return Candidates() if action is None else _values(action, line).beginning(current)


def _commands(parser: argparse.ArgumentParser) -> dict[str, tuple[argparse.ArgumentParser, str]]:
    [several] = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    does = {one.dest: one.help or "" for one in several._choices_actions}
    return {name: (sub, does.get(name, "")) for name, sub in several.choices.items()}


def _named(commands: Mapping[str, tuple[argparse.ArgumentParser, str]]) -> Candidates:
    return Candidates(words={name: does for name, (_, does) in commands.items()})


def _options(parser: argparse.ArgumentParser, given: set[str]) -> Candidates:
    found = {}
    for action in parser._actions:
        if action.option_strings and (action.dest not in given or isinstance(action, argparse._AppendAction)):
            found[action.option_strings[-1]] = action.help or ""
    return Candidates(words=found)


def _line(sub: argparse.ArgumentParser, command: str, before: Sequence[str], current: str) -> _Line:
    line = _Line(command, current)
    options = {name: action for action in sub._actions for name in action.option_strings}
    for word in before:
        if line.pending is not None:
            line.values[line.pending.dest], line.pending = word, None
        elif line.only_positionals or not word.startswith("-") or word == "-":
            line.positionals += 1
        elif word == "--":
            line.only_positionals = True
        else:
            name, equals, value = word.partition("=")
            if (action := options.get(name)) is not None:
                line.given.add(action.dest)
                if equals:
                    line.values[action.dest] = value
                elif action.nargs != 0:
                    line.pending = action
    return line


def _positional(sub: argparse.ArgumentParser, number: int) -> argparse.Action | None:
    actions = [action for action in sub._actions if not action.option_strings]
    if number < len(actions):
        return actions[number]
    return actions[-1] if actions and actions[-1].nargs in ("*", "+") else None


def _values(action: argparse.Action, line: _Line) -> Candidates:
    """Return what the value of *action* may be."""
    if action.choices is not None:
        return Candidates(words=dict.fromkeys(map(str, action.choices), ""))
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if metavar in ("FILE", "PATH"):
        return Candidates(FILES)
    if metavar == "DIR":
        return Candidates(DIRS)
    readers: Mapping[str, Callable[[_Line], Mapping[str, str]]] = {
        "VM": _vms,
        "VM|SERVICE": _vms,
        "FIELD": _fields_to_get,
        "FIELD=VALUE": _fields_to_set,
        "SERVICE[+ARG]": _services,
    }
    reader = readers.get(metavar)
    return Candidates() if reader is None else Candidates(words=dict(reader(line)))


def _vms(line: _Line) -> Mapping[str, str]:
    from vminterface.cli.pillar import load
    from vminterface.errors import InvalidValue

    if (file := line.values.get("pillar")) and file != "-":
        try:
            named = load(file)["qubes"]["vms"]
            return _valid(named)
        except (InvalidValue, LookupError, TypeError):
            return {}
    return _valid(_known(also_halted=line.command in _OF_QUBESD))


def _known(*, also_halted: bool) -> set[str]:
    from vminterface.channel import adminapi
    from vminterface.channel.adminapi import AdminAPI
    from vminterface.deadline import Deadline
    from vminterface.dom0.inventory.targets import Targets

    found: set[str] = set()
    deadline = Deadline.after(WITHIN)
    try:
        with Targets(deadline=deadline) as targets:
            found |= targets.running().keys()
    except VMInterfaceError:
        pass
    try:
        if also_halted and adminapi.available():
            found |= AdminAPI.open(timeout=max(0.1, deadline.remaining)).domains().keys()
    except VMInterfaceError:
        pass
    return found


def _valid(untrusted_names: Iterable[object]) -> Mapping[str, str]:
    """Return the names of VMs among *untrusted_names*: no other is handed to a shell."""
    from vminterface.errors import InvalidValue
    from vminterface.values.vmname import VMName, is_dom0

    found = {}
    for name in untrusted_names:
        try:
            if isinstance(name, str) and not is_dom0(name):
                found[VMName.parse(name).text] = ""
        except InvalidValue:
            continue
    return dict(sorted(found.items()))


def _services(line: _Line) -> Mapping[str, str]:
    from vminterface.dom0.results.servicelist import KNOWN

    return {name: does for name, (_, does) in sorted(KNOWN.items())}


def _fields_to_get(line: _Line) -> Mapping[str, str]:
    from vminterface import keys

    pushed = {row.field.partition(":")[0] for row in keys.TABLE if row.pushed}
    return {
        name: does
        for name, (does, _) in _fields().items()
        if name.partition(":")[0] in {*pushed, "monitors", "firewall"} and name not in ("network", "provides_network")
    }


def _fields_to_set(line: _Line) -> Mapping[str, str]:
    """Return ``FIELD=`` of every field, and behind a field's ``=`` what it may be."""
    name, equals, _ = line.current.partition("=")
    if not equals:
        return {f"{field_}=": does for field_, (does, _) in _fields().items()}
    values: Iterable[str] = _fields().get(name, ("", []))[1]
    if name == "timezone":
        values = [*_zones(), *values]
    if name in _VM_FIELDS:
        values = [*values, *_valid(_known(also_halted=True))]
    return {f"{name}={value}": "" for value in values}


def _fields() -> dict[str, tuple[str, list[str]]]:
    """Return each field that a VM may have with what it does and the words that it may be, of the pillar's schema."""
    from vminterface.dom0.desired.schema import of_pillar

    schema = of_pillar()
    named: Mapping[str, Any] = schema["$defs"]
    found: dict[str, tuple[str, list[str]]] = {}
    for name, form in named["vm"]["properties"].items():
        parts = [_resolved(one, named) for one in form["anyOf"]]
        words = [word for one in parts for word in _words(one, named)]
        members = {key: one for part in parts for key, one in part.get("properties", {}).items()}
        if name in ("monitors", "firewall"):
            members = {}
        if not members or words:
            found[name] = (form["description"], words)
        for key, one in members.items():
            found[f"{name}:{key}"] = (one.get("description", ""), _words(_resolved(one, named), named))
    return found


def _resolved(form: Mapping[str, Any], named: Mapping[str, Any]) -> Mapping[str, Any]:
    ref = form.get("$ref")
    return named[ref.rpartition("/")[2]] if ref else form


def _words(form: Mapping[str, Any], named: Mapping[str, Any]) -> list[str]:
    """Return the words that *form* names; of a flag the two that Qubes uses."""
    found: list[str] = []
    for one in (form, *(_resolved(part, named) for part in form.get("anyOf", ()))):
        if one is not form and "anyOf" in one:
            found += _words(one, named)
        elif one.get("type") == "boolean":
            found += ["on", "off"]
        else:
            found += [word for word in one.get("enum", ()) if isinstance(word, str) and word not in _SYNONYMS]
    return list(dict.fromkeys(found))


#: Other words for on and off, and the empty one.
_SYNONYMS = ("yes", "true", "no", "false", "")


def _zones() -> list[str]:
    """Return the time zones that are installed, as tzdata lists them."""
    from vminterface.values.timezone import ZONES

    try:
        with open(f"{ZONES}/tzdata.zi", encoding="ascii", errors="replace") as file:
            lines = file.read(_ZONES_MOST).splitlines()
    except OSError:
        return []
    rows = [line.split(" ") for line in lines if line.startswith(("Z ", "L "))]
    return sorted({row[1] if row[0] == "Z" else row[2] for row in rows if len(row) > 2})
