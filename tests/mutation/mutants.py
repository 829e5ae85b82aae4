"""The changes that mutation testing makes to one file, by the operators of mutmut.

Each operator takes a node of the syntax tree and gives others in its place: ``<`` becomes ``<=``, an argument ``None``.
What mutmut does beyond that, copies of all functions in one file, is not used: it passes over module constants, class
attributes and most decorated functions, and limits and tables of formats are just there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, ParentNodeProvider, PositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_string

#: Text for people: two words with a space between. No test is to pin how a sentence is put.
SENTENCE = re.compile(r"[a-z,;:.')] [a-z('<{]", re.IGNORECASE)
#: Calls that are left as they are: without their argument they fail at once (as mutmut has it), or all that changes is
#: how much of a foreign text an error quotes.
UNTOUCHED_CALLS = {"len", "isinstance", "printable", "printable_value", "printable_path", "printable_lines"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One changed form of a file."""

    source: str
    #: The lines of the statement that is changed; of a compound one those of its head.
    first: int
    last: int
    #: First line and qualified name of the function whose body is changed; None: what runs when the file is imported.
    function: tuple[int, str] | None
    #: What tells it from the others, as in a file of equivalents: the lines that go, and those that come.
    removed: tuple[str, ...]
    added: tuple[str, ...]


def mutants_of(source: str) -> list[Mutant]:
    """Return all changed forms of a file whose text is *source*, in the order of its lines."""
    wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    visitor = _Visitor(wrapper.module, source)
    wrapper.visit(visitor)
    seen = {source}
    found = []
    for mutant in visitor.found:
        if mutant.source not in seen:
            seen.add(mutant.source)
            found.append(mutant)
    return sorted(found, key=lambda mutant: mutant.first)


class _Visitor(cst.CSTVisitor):  # type: ignore[misc]  # libcst is not there for the type checker
    METADATA_DEPENDENCIES = (PositionProvider, ParentNodeProvider)

    def __init__(self, module: cst.Module, source: str) -> None:
        super().__init__()
        self.found: list[Mutant] = []
        self._module = module
        self._source = source
        self._lines = source.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))

    def on_visit(self, node: cst.CSTNode) -> bool:
        if _is_left_alone(node):
            return False
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                for place, other in enumerate(operator(node)):
                    if operator is operator_string and not _counts(node, place):
                        continue
                    self._add(node, other)
        return True

    def _add(self, node: cst.CSTNode, other: cst.CSTNode) -> None:
        text = self._with(node, other)
        removed, added = _difference(self._source, text)
        first, last, function = self._place(node)
        self.found.append(Mutant(text, first, last, function, removed, added))

    def _with(self, node: cst.CSTNode, other: cst.CSTNode) -> str:
        """Return the file's text with *other* for *node*; where that can be done in the text, without a new tree."""
        place = self.get_metadata(PositionProvider, node, None)
        if isinstance(place, CodeRange):
            begin = self._starts[place.start.line - 1] + place.start.column
            end = self._starts[place.end.line - 1] + place.end.column
            old = self._module.code_for_node(node)
            if old.strip() == self._source[begin:end]:
                new: str = self._module.code_for_node(other)
                return self._source[:begin] + new.strip() + self._source[end:]
        return str(self._module.deep_replace(node, other).code)

    def _place(self, node: cst.CSTNode) -> tuple[int, int, tuple[int, str] | None]:
        """Return first and last line of the statement that *node* is in, and the outermost function around it."""
        first = last = 0
        names: list[str] = []
        function: tuple[int, int] | None = None  # first line, how many names were inside of it
        at_import = False
        child, parent = node, self._parent(node)
        while parent is not None:
            if not first and isinstance(parent, cst.SimpleStatementLine | cst.BaseCompoundStatement | cst.MatchCase):
                # Of what has a body the head alone.
                head = child if isinstance(parent, cst.BaseCompoundStatement | cst.MatchCase) else parent
                first, last = self._range(parent)[0], self._range(head)[1]
            if isinstance(parent, cst.FunctionDef | cst.ClassDef):
                names.append(parent.name.value)
                if isinstance(parent, cst.FunctionDef):
                    at_import = child is not parent.body
                    function = (self._first_line(parent), len(names))
            child, parent = parent, self._parent(parent)
        names.reverse()
        if function is None or at_import:
            return first, last, None
        line, inside = function
        return first, last, (line, ".".join(names[: len(names) - inside + 1]))

    def _parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        found = self.get_metadata(ParentNodeProvider, node, None)
        return found if isinstance(found, cst.CSTNode) else None

    def _range(self, node: cst.CSTNode) -> tuple[int, int]:
        place = self.get_metadata(PositionProvider, node)
        assert isinstance(place, CodeRange)
        return place.start.line, place.end.line

    def _first_line(self, function: cst.FunctionDef) -> int:
        """Return the first line as Python counts it, that of the first decorator."""
        return self._range(function.decorators[0] if function.decorators else function)[0]


def _is_left_alone(node: cst.CSTNode) -> bool:
    """Whether *node* and all in it stay as they are: types, imports, decorators, docstrings."""
    if isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom):
        return True
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Name):
        return node.func.value in UNTOUCHED_CALLS
    # A default of another kind may fail where the function is defined.
    if isinstance(node, cst.Param):
        return node.default is not None and not isinstance(node.default, cst.Name | cst.BaseNumber | cst.BaseString)
    if isinstance(node, cst.Assign | cst.If):
        name = node.test if isinstance(node, cst.If) else node.targets[0].target
        return isinstance(name, cst.Name) and name.value == "TYPE_CHECKING"
    return isinstance(node, cst.Expr) and isinstance(node.value, cst.BaseString)


def _counts(node: cst.CSTNode, place: int) -> bool:
    """Whether form number *place* of a string literal is taken: with X around it, of a pattern the other cases too."""
    if not isinstance(node, cst.SimpleString) or SENTENCE.search(node.value):
        return False
    return place == 0 or "r" in node.prefix.lower()


def _difference(old: str, new: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    before, after = old.splitlines(), new.splitlines()
    removed: list[str] = []
    added: list[str] = []
    begin = next((at for at, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(before))
    tail = min(len(before), len(after)) - begin
    end = next((at for at in range(tail) if before[-1 - at] != after[-1 - at]), tail)
    old_part, new_part = before[begin : len(before) - end], after[begin : len(after) - end]
    for kind, i, j, k, m in SequenceMatcher(None, old_part, new_part, autojunk=False).get_opcodes():
        if kind != "equal":
            removed += [line.strip() for line in old_part[i:j]]
            added += [line.strip() for line in new_part[k:m]]
    return tuple(removed), tuple(added)
