"""Lines of the history are chained: what is changed, taken out or put in is noticed, what a kill tore is not blamed."""

from __future__ import annotations

import itertools

import pytest

from vminterface.dom0.history import chain
from vminterface.dom0.history.chain import Head, Torn
from vminterface.errors import InvalidValue


def history(count: int) -> tuple[list[bytes], Head]:
    """Return so many lines with their newlines, and the head behind them."""
    lines, head = [], Head("secret")
    for number in range(count):
        line = chain.line_of({"what": number}, head, None)
        head = head.followed_by(line, 0)
        lines.append(line + b"\n")
    return lines, head


def faults(lines: list[bytes], head: Head | None, known: dict[int, str] | None = None) -> list[str]:
    return chain.verify(((f"f:{at}", line) for at, line in enumerate(lines, 1)), head, known).errors


def test_a_whole_chain_has_no_faults() -> None:
    lines, head = history(4)
    verdict = chain.verify((("f", line) for line in lines), head)
    assert (verdict.ok, verdict.lines, verdict.first, verdict.last) == (True, 4, 1, 4)
    assert verdict.hash == head.hash
    assert faults([], Head("secret")) == faults([], None) == []


def test_every_set_of_lines_taken_out_is_noticed() -> None:
    lines, head = history(5)
    for kept in itertools.chain.from_iterable(itertools.combinations(range(5), count) for count in range(5)):
        assert faults([lines[at] for at in kept], head), kept


def test_a_line_that_is_changed_put_in_or_moved_is_noticed() -> None:
    lines, head = history(4)
    for at in range(4):
        changed = lines[at].replace(b'"what":', b'"hwat":')
        assert faults([*lines[:at], changed, *lines[at + 1 :]], head), at
        assert faults([*lines[:at], lines[at], *lines[at:]], head), at
        assert faults([*lines[:at], b"{}\n", *lines[at:]], head), at
    assert faults([lines[1], lines[0], *lines[2:]], head)


def test_what_is_missing_is_named() -> None:
    lines, head = history(5)
    assert faults(lines[:1] + lines[3:], head) == ["f:2: line 4 stands behind line 1: lines 2 to 3 are missing"]
    assert faults(lines[1:], head) == ["f:1: the history begins with line 2: line 1 is missing"]
    assert faults(lines[:4], head) == ["the end: line 5 is missing (taken out, or lost when the host lost its power)"]
    assert faults(lines, None) == [
        "the head is missing, or cannot be read: lines taken out at the end would not be noticed"
    ]


def test_a_line_that_a_kill_tore_is_no_fault_once_the_next_writer_has_named_it() -> None:
    lines, head = history(2)
    torn = chain.line_of({"what": "torn"}, head, None)[:30]
    at_the_end = chain.verify((("f", line) for line in [*lines, torn]), head)
    assert at_the_end.ok
    assert at_the_end.torn
    after = chain.line_of({"what": "next"}, head, Torn.of(torn))
    whole = [*lines, torn + b"\n", after + b"\n"]
    behind = head.followed_by(after, 0)
    assert faults(whole, behind) == []
    # Whoever spoils a line, or takes the torn one out, is not helped by that.
    assert faults([lines[0], lines[1][:20] + b"\n", torn + b"\n", after + b"\n"], behind)
    assert faults([*lines, torn[:-1] + b"\n", after + b"\n"], behind)
    assert faults([*lines, after + b"\n"], behind)


def test_a_writer_that_was_killed_before_it_wrote_the_head_is_no_fault() -> None:
    lines, _ = history(3)
    _, head = history(2)
    assert faults(lines, head) == []


def test_a_hash_that_was_noted_elsewhere_finds_a_chain_that_was_made_anew() -> None:
    lines, head = history(3)
    known = {2: chain.hash_of(lines[1].rstrip(b"\n"))}
    assert faults(lines, head, known) == []
    other, made_anew = [], Head("secret")
    for number in range(3):
        line = chain.line_of({"what": -number}, made_anew, None)
        made_anew = made_anew.followed_by(line, 0)
        other.append(line + b"\n")
    assert faults(other, made_anew) == []
    assert faults(other, made_anew, known) == ["f:2: line 2 was changed after it had been written"]
    assert faults(lines, head, {9: head.hash}) == ["line 9, whose hash is known, is not there"]


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"secret": 1}', b'{"secret": "x", "last": true}', b"\0" * 512])
def test_a_head_that_is_not_valid_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidValue):
        Head.parse(data)


def test_a_digest_tells_equal_values_of_a_host_and_nothing_else() -> None:
    assert Head("a").digest("x") == Head("a").digest("x")
    assert len({Head("a").digest("x"), Head("b").digest("x"), Head("a").digest("y")}) == 3
    assert Head.parse(Head("a").render()) == Head("a")
