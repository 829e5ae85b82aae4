"""A VM's firewall as qubesd keeps it: the text of ``admin.vm.firewall.Set`` and ``.Get``, one rule a line.

The words are those of a provider's key, in which ``qvm-firewall --raw`` shows them too, and two more: ``expire=``, the
second since 1970 from which on the rule has expired, and ``comment=``, which is last and may hold blanks. There is
no policy: what no rule takes is dropped. Source: Qubes core-admin ``qubes/firewall.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from vminterface.errors import InvalidValue
from vminterface.regex import regex
from vminterface.values.firewall import Action, Firewall, Rule

_EXPIRE = regex(r"expire=([0-9]{1,12})")


@dataclass(frozen=True, slots=True)
class StoredRule:
    """One line of qubesd's. ``rule`` is None for one that only other programs write, such as with a host ``-bad-``."""

    rule: Rule | None
    expire: int | None = None
    comment: str = ""

    @classmethod
    def parse(cls, text: str) -> StoredRule:
        """Read one line, whatever is in it."""
        options, _, comment = f" {text}".partition(" comment=")
        words: list[str] = []
        expire = None
        for word in options.split():
            if expire is None and (form := _EXPIRE.fullmatch(word)):
                expire = int(form[1])
            else:
                words.append(word)
        try:
            return cls(Rule.parse(" ".join(words)), expire, comment)
        except InvalidValue:
            return cls(None, expire, comment)

    def ended(self, now: float) -> bool:
        """Whether the rule has expired at *now*, in seconds since 1970."""
        return self.expire is not None and self.expire <= now


def parse(text: str, now: float) -> Firewall | None:
    """Return the firewall that qubesd's *text* is for good, None where the pillar cannot express it.

    Rules that have ended before *now* (seconds since 1970) are passed over. One that will end is not equal to the rule
    without an end; comments are not compared, as they do nothing.
    """
    rules: list[Rule] = []
    for line in lines(text):
        stored = StoredRule.parse(line)
        if stored.ended(now):
            continue
        if stored.rule is None:
            return None
        rules.append(replace(stored.rule, expire=stored.expire, comment=stored.comment))
    try:
        return Firewall(Action.DROP, tuple(rules))
    except InvalidValue:
        return None


def in_effect(text: str, now: float) -> str:
    """Return qubesd's *text* without the lines that have ended: what ``.Set`` makes of it, as it drops these."""
    return _text(line for line in lines(text) if not StoredRule.parse(line).ended(now))


def render(firewall: Firewall) -> str:
    """Return *firewall* as ``.Set`` takes it: the rules of both families; empty text where all is dropped."""
    return _text(map(_line, firewall.lines))


def _line(rule: Rule) -> str:
    return f"{rule.render(with_end=True)}{rule.comment and f' comment={rule.comment}'}"


def lines(text: str) -> list[str]:
    """Return the lines of qubesd's *text*, one a rule."""
    return [line for line in text.split("\n") if line]


def _text(rules: Iterable[str]) -> str:
    return "".join(f"{rule}\n" for rule in rules)
