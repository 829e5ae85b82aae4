"""The lines of the history and how they are chained: bytes in, bytes and verdicts out; no file, no clock.

A line is one JSON object. ``n`` counts lines over all files, ``previous`` is the SHA-256 of the line before, without
its newline. So a line that is changed, taken out or put in shows at the line behind it. Behind the last line nothing
shows that, so a head, kept in a file of its own, has the number and the hash of the last line too.

A line that was cut short, as by a kill -9 in the middle of a write, ends in the newline that the next writer adds; that
writer's own line has its length and hash in ``torn``. So it differs from a line that was damaged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vminterface.errors import InvalidValue

#: Before the first line.
NOTHING = "0" * 64
#: Bytes of the head's file.
HEAD_SIZE = 512
#: Errors that are named; the others are counted.
ERRORS_MAX = 20


def hash_of(line: bytes) -> str:
    """Return the SHA-256 of *line*, which has no newline, in hexadecimal digits."""
    return hashlib.sha256(line).hexdigest()


@dataclass(frozen=True, slots=True)
class Torn:
    """The beginning of a line whose writer did not come to its end: its length in bytes, and its hash."""

    size: int
    hash: str

    @classmethod
    def of(cls, data: bytes) -> Torn:
        """Return a description of *data*."""
        return cls(len(data), hash_of(data))

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"bytes": self.size, "sha256": self.hash}


@dataclass(frozen=True, slots=True)
class Head:
    """The ends of the chain: the oldest line that is kept, the last line that was written; and a secret.

    *size* is that of the newest file behind the last line, in bytes.
    """

    secret: str
    first: int = 1
    first_previous: str = NOTHING
    last: int = 0
    hash: str = NOTHING
    size: int = 0

    @classmethod
    def parse(cls, data: bytes) -> Head:
        """Return the head that *data* is. Raises InvalidValue."""
        try:
            raw = json.loads(data)
            head = cls(**raw)
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidValue("not a valid head of a chain of lines") from error
        texts, numbers = (head.secret, head.first_previous, head.hash), (head.first, head.last, head.size)
        if not all(isinstance(one, str) for one in texts) or not all(type(one) is int for one in numbers):
            raise InvalidValue("not a valid head of a chain of lines")
        return head

    def render(self) -> bytes:
        """Return it as the whole of its file."""
        raw = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(raw).encode("ascii").ljust(HEAD_SIZE - 1) + b"\n"

    def followed_by(self, line: bytes, size: int) -> Head:
        """Return the head after *line*, with which the newest file has *size* bytes."""
        return replace(self, last=self.last + 1, hash=hash_of(line), size=size)

    def digest(self, value: object) -> str:
        """Return what stands for *value*, which may be secret: equal for equal values of one host, and nothing else."""
        import hmac  # here, as few pushes are about what may be secret

        text = json.dumps(value, sort_keys=True, default=str).encode("ascii")
        return "hmac-sha256:" + hmac.new(self.secret.encode("ascii"), text, "sha256").hexdigest()[:32]


def line_of(entry: Mapping[str, Any], head: Head, torn: Torn | None) -> bytes:
    """Return *entry* as the line behind *head*, without a newline; *torn* is what stands before it in the file."""
    behind = {"torn": torn.as_data()} if torn is not None else {}
    whole = {"n": head.last + 1, "previous": head.hash, **behind, **entry}
    return json.dumps(whole, separators=(",", ":")).encode("ascii")


def parse(line: bytes) -> dict[str, Any]:
    """Return the entry of *line*, without its newline. Raises InvalidValue."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidValue("not a valid line of the history (expected one JSON object)") from error
    if not isinstance(entry, dict) or type(entry.get("n")) is not int or not isinstance(entry.get("previous"), str):
        raise InvalidValue("not a valid line of the history (expected a JSON object with n and previous)")
    return entry


@dataclass(slots=True)
class Verdict:
    """The result of :func:`verify`: *errors* are sentences; the first and the last line that exist."""

    errors: list[str] = field(default_factory=list)
    more_errors: int = 0
    lines: int = 0
    first: int = 0
    last: int = 0
    hash: str = NOTHING
    #: Whether the file ends in the beginning of a line: its writer was killed, or is writing.
    torn: bool = False

    @property
    def ok(self) -> bool:
        """Whether the chain is whole."""
        return not self.errors

    def add_error(self, text: str) -> None:
        """Keep one more sentence, or count it."""
        if len(self.errors) < ERRORS_MAX:
            self.errors.append(text)
        else:
            self.more_errors += 1


def verify(lines: Iterable[tuple[str, bytes]], head: Head | None, known: Mapping[int, str] | None = None) -> Verdict:
    """Check the chain of *lines*, ``(where, line)`` from the oldest on, each with its newline if it has one.

    *head* is None where there is none; *known* are hashes by number of lines, as somebody has noted them elsewhere.
    """
    verdict = Verdict()
    #: What is not a line, and is none of a writer's that was killed unless the next line says so.
    torn: tuple[str, bytes, InvalidValue] | None = None
    expected = dict(known or {})
    if head is not None and head.last:
        expected.setdefault(head.last, head.hash)
    for where, raw in lines:
        line = raw.removesuffix(b"\n")
        if verdict.torn:
            verdict.add_error(f"{where}: stands behind a line without an end")
        verdict.torn = line == raw
        try:
            entry = parse(line)
        except InvalidValue as error:
            if torn is not None:
                verdict.add_error(f"{torn[0]}: {torn[2]}")
            torn = (where, line, error)
            continue
        if verdict.torn:
            # As a whole it may be there before its newline is.
            continue
        _check_torn(where, entry, torn, verdict)
        torn = None
        _check_place(where, entry, verdict, head)
        verdict.lines, verdict.last, verdict.hash = verdict.lines + 1, entry["n"], hash_of(line)
        if expected.pop(verdict.last, verdict.hash) != verdict.hash:
            verdict.add_error(f"{where}: line {verdict.last} was changed after it had been written")
    if torn is not None and not verdict.torn:
        verdict.add_error(f"{torn[0]}: {torn[2]}")
    _check_end(verdict, head, expected, known or {})
    return verdict


def _check_torn(
    where: str, entry: Mapping[str, Any], torn: tuple[str, bytes, InvalidValue] | None, verdict: Verdict
) -> None:
    """Hold what stands before a line, if that is not a line, against what the line says of it."""
    noted = entry.get("torn")
    if torn is not None and Torn.of(torn[1]).as_data() != noted:
        verdict.add_error(f"{torn[0]}: {torn[2]}")
    elif torn is None and noted is not None:
        verdict.add_error(f"{where}: what stood before line {entry['n']}, a torn line, was taken out")


def _check_place(where: str, entry: Mapping[str, Any], verdict: Verdict, head: Head | None) -> None:
    """Hold a line against the one before it, or the first of all against the head."""
    number, previous = entry["n"], entry["previous"]
    if not verdict.lines:
        verdict.first = number
        if head is not None and (number > head.first or (number == head.first and previous != head.first_previous)):
            gap = _gap(head.first, number) if number > head.first else "lines before it are not those that were there"
            verdict.add_error(f"{where}: the history begins with line {number}: {gap}")
    elif number != verdict.last + 1:
        gap = _gap(verdict.last + 1, number) if number > verdict.last else "the lines are in another order"
        verdict.add_error(f"{where}: line {number} stands behind line {verdict.last}: {gap}")
    elif previous != verdict.hash:
        verdict.add_error(f"{where}: line {verdict.last} is not the one that line {number} was written behind")


def _check_end(verdict: Verdict, head: Head | None, expected: Mapping[int, str], known: Mapping[int, str]) -> None:
    """Find lines that are missing: those that the head knows, and those that somebody has noted."""
    if head is None:
        if verdict.lines:
            verdict.add_error("the head is missing, or cannot be read: lines taken out at the end would not be noticed")
    elif verdict.last < head.last:
        gap = _gap(verdict.last + 1, head.last + 1)
        verdict.add_error(f"the end: {gap} (taken out, or lost when the host lost its power)")
    for number in sorted(expected.keys() & known.keys()):
        kept = "no longer kept" if verdict.lines and number < verdict.first else "not there"
        verdict.add_error(f"line {number}, whose hash is known, is {kept}")


def _gap(start: int, stop: int) -> str:
    if stop - start <= 1:
        return f"line {start} is missing"
    return f"lines {start} to {stop - 1} are missing"
