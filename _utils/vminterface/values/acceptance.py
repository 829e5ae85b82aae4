"""What a VM's owner accepts of dom0: the text of ``agent.conf``, lines ``NAME = accept|ignore|refuse``.

NAME is a setting of the agent, a Qubes RPC service, ``other-settings`` or ``other-handlers``: all those that this file
does not name. Blank lines are left out, and everything from a ``#`` on. Read at each call of a handler, so it imports
next to nothing.
"""

from __future__ import annotations

from vminterface.errors import InvalidValue, printable

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost every short-lived program time
if TYPE_CHECKING:
    from collections.abc import Collection

ACCEPT, IGNORE, REFUSE = WORDS = ("accept", "ignore", "refuse")
#: How a handler's one line of standard error begins, after the service's name, by what the owner says of that service.
NOTES = {IGNORE: "this VM ignores it", REFUSE: "this VM does not accept it"}
OTHER_SETTINGS, OTHER_HANDLERS = "other-settings", "other-handlers"


class Rule:
    """One line of the file: the *word* that it has for its name, and its *number*, counted from 1."""

    __slots__ = ("number", "word")

    def __init__(self, word: str, number: int) -> None:
        self.word = word
        self.number = number


class WrongLine(InvalidValue):
    """A line of the file is not valid; *number* is its number."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


def parse(text: str, settings: Collection[str], services: Collection[str]) -> dict[str, Rule]:
    """Return the rules of *text* by name, of which *settings* and *services* are those that are known.

    Raises WrongLine for the first line that is not valid: one that is not of the form above, an unknown name (which may
    be a misspelt one of those that are to be kept out), or a name that is there twice.
    """
    rules: dict[str, Rule] = {}
    for number, line in enumerate(text.split("\n"), 1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        name, equals, word = (part.strip() for part in content.partition("="))
        if not equals or word not in WORDS:
            shown = printable(content, 40)
            raise WrongLine(f"'{shown}' is not valid (expected NAME = {', '.join(WORDS[:-1])} or {WORDS[-1]})", number)
        if name not in settings and name not in services and name not in (OTHER_SETTINGS, OTHER_HANDLERS):
            near = _near(name, [*settings, *services, OTHER_SETTINGS, OTHER_HANDLERS])
            raise WrongLine(f"'{printable(name, 40)}' is not a setting or a service{near}", number)
        if name in rules:
            raise WrongLine(f"'{name}' is given twice, also in line {rules[name].number}", number)
        rules[name] = Rule(word, number)
    return rules


def _near(name: str, known: list[str]) -> str:
    import difflib  # here, as a file without errors does not need it

    near = difflib.get_close_matches(name[:80], known, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""
