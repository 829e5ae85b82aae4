"""A run as a short story: who did what when, in the order in which it happened, one line each."""

from __future__ import annotations

from collections.abc import Iterator

from tests.simulation.run import Result
from tests.simulation.trace import Applied, Began, Died, Ended, Fact, Started, Stopped, Watched, Wrote
from vminterface.errors import printable


def tell(result: Result) -> str:
    """Return the story of a run, what is wrong with it at its end."""
    lines = [str(result.scenario), ""]
    happened = [*_facts(result.host.trace.facts), *((at, f"{who} {what}") for at, who, what in result.host.world.story)]
    lines += [f"{at:9.4f} s  {text}" for at, text in sorted(happened, key=lambda one: one[0])]
    return "\n".join([*lines, "", *(f"WRONG: {text}" for text in result.violations or ("nothing",))])


def _facts(facts: list[Fact]) -> Iterator[tuple[float, str]]:
    """Yield when and what; what one process wrote at the same time is one line."""
    group: list[Wrote] = []
    for fact in [*facts, None]:
        if group and not (isinstance(fact, Wrote) and (fact.at, fact.who, fact.vm) == _of(group[0])):
            yield group[0].at, f"{group[0].who} writes {group[0].vm}: {', '.join(map(_key, group))}"
            group = []
        match fact:
            case Wrote():
                group.append(fact)
            case Applied():
                word = "applies" if fact.accepted else "refuses"
                inputs = (
                    ", ".join(f"{name}={printable(text, 60)}" for name, text in sorted(fact.inputs.items()))
                    or "nothing"
                )
                yield (
                    fact.at,
                    f"the agent of {fact.vm} {word} {fact.setting}: {inputs} (at it since {fact.began:.4f} s)",
                )
            case Began():
                texts = ", ".join(f"{name}={text}" for name, text in sorted(fact.texts.items()))
                yield fact.at, f"{fact.who} begins a {fact.kind} of {fact.vm}: {texts}"
            case Ended():
                yield fact.at, f"{fact.who} says: {'' if fact.ok else 'FAILED: '}{fact.comment or 'done'}"
            case Started():
                yield fact.at, f"{fact.vm} starts"
            case Stopped():
                yield fact.at, f"{fact.vm} ends"
            case Watched(what="says", text=text):
                yield fact.at, f"{fact.who} logs: {text}"
            case Watched(what="pillar" | "wrong" | "same", text=text):
                yield fact.at, f"the pillar of {fact.who} becomes {text}"
            case Watched(what="told"):
                yield fact.at, f"{fact.who} is told to end"
            case Watched(what="killed"):
                yield fact.at, f"{fact.who} is killed"
            case Watched():
                yield fact.at, f"{fact.who} {fact.what}"
            case Died():
                yield fact.at, f"{fact.who} dies in the middle"


def _of(one: Wrote) -> tuple[float, str, str]:
    return one.at, one.who, one.vm


def _key(one: Wrote) -> str:
    return f"no {one.key}" if one.new is None else f"{one.key}={printable(one.new.decode('latin-1'), 60)}"
