"""YAML with the meaning that it has to Salt, whose loader differs from PyYAML's in numbers, dates and merged mappings.

One file must give one pillar, whether Salt or the command reads it. What Salt's renderer refuses is refused too, in one
sentence with the line. Source: Salt, ``salt/utils/yamlloader.py`` and ``salt/renderers/yaml.py`` (3006 to 3008).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex

_TAG = "tag:yaml.org,2002:"
#: What PyYAML raises for a scalar that is not what its tag says, such as ``!!bool maybe``.
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_JINJA = regex(r"\{[{%].*?[}%]\}")
#: What YAML reads as a number of base 60: ``22:30``, ``1:30.5``.
_BASE_60 = regex(r"[-+]?[0-9_.]*(?::[0-9_.]+)+")


def load(path: str, text: str) -> Any:
    """Return what *text* is to Salt; *path* is what errors begin with. Raises InvalidValue.

    Numbers of base 60 below the key ``qubes`` are refused: Salt takes ``22:30`` for 1350, which nobody means.
    """
    try:
        import yaml
    except ImportError:
        raise InvalidValue(f"{path}: is not JSON (reading YAML needs PyYAML, which is not installed)") from None
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidValue(f"{path}: '{printable(text, 60)}' is not UTF-8 text") from None
    loader = _loader(yaml)(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        for number in _base_60(yaml, node):
            raise InvalidValue(
                f"{path}:{number.start_mark.line + 1}: YAML reads {printable(number.value, 40)} as a number of base 60"
                " (quote it where text is meant; a range of ports has a '-')"
            )
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise _error(path, text, error) from None
    except RecursionError:
        raise InvalidValue(f"{path}: is nested too deeply") from None
    finally:
        loader.dispose()


@lru_cache(maxsize=1)
def _loader(yaml: Any) -> Any:
    """Return the class of Salt's loader. It too prefers the parser in C, which differs in what it refuses."""
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        def construct_object(self, node: Any, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep)
            except (yaml.YAMLError, RecursionError):
                raise
            except _UNREADABLE as error:
                shown = printable(node.value, 40) if isinstance(node.value, str) else f"a {node.id}"
                problem = f"'{shown}' is not a valid {node.tag.removeprefix(_TAG)} ({error})"
                raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None

        def construct_scalar(self, node: Any) -> Any:
            # A number with zeros in front is decimal to Salt, octal to YAML; with a sign it is octal to both.
            text = node.value
            if node.tag == f"{_TAG}int" and text.startswith("0") and not text.startswith(("0b", "0x")):
                node.value = text.lstrip("0") or "0"
            return super().construct_scalar(node)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            if not isinstance(node, yaml.MappingNode):
                raise yaml.constructor.ConstructorError(None, None, f"is a {node.id} (expected a mapping)",
                                                        node.start_mark)  # fmt: skip
            self.flatten_mapping(node)
            found: dict[Any, Any] = {}
            for key_node, value_node in node.value:
                key = self.construct_object(key_node, deep=deep)
                problem = _wrong_key(key, key_node, found)
                if problem:
                    raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
                found[key] = self.construct_object(value_node, deep=deep)
            return found

        def flatten_mapping(self, node: Any) -> None:
            merged: list[Any] = []
            own: list[Any] = []
            for key_node, value_node in node.value:
                if key_node.tag == f"{_TAG}merge":
                    merged += self._merged(node, value_node)
                    continue
                if key_node.tag == f"{_TAG}value":
                    key_node.tag = f"{_TAG}str"
                own.append((key_node, value_node))
            names = [key_node.value for key_node, _ in own]
            node.value = [pair for pair in merged if pair[0].value not in names] + own

        def _merged(self, node: Any, value_node: Any) -> list[Any]:
            """Return what ``<<`` brings; of several mappings the last one first, and the same key twice is an error."""
            several = isinstance(value_node, yaml.SequenceNode)
            pairs: list[Any] = []
            for one in reversed(value_node.value) if several else [value_node]:
                if not isinstance(one, yaml.MappingNode):
                    raise yaml.constructor.ConstructorError(
                        None, None, f"cannot merge a {one.id} (expected a mapping)", one.start_mark
                    )
                self.flatten_mapping(one)
                pairs += one.value
            return pairs

        def construct_binary(self, node: Any) -> bytes:
            import base64

            data = self.construct_scalar(node).encode("ascii")
            return base64.decodebytes(data + b"=" * (len(data) % 4))

    for kind, construct in {
        "map": Loader.construct_yaml_map,
        "omap": Loader.construct_yaml_map,
        "str": Loader.construct_scalar,
        "python/unicode": lambda _, node: node.value,
        # Of a date Salt too makes text.
        "timestamp": Loader.construct_scalar,
        "binary": Loader.construct_binary,
    }.items():
        Loader.add_constructor(f"{_TAG}{kind}", construct)
    return Loader


def _wrong_key(key: Any, node: Any, found: dict[Any, Any]) -> str:
    try:
        hash(key)
    except TypeError:
        return f"a {node.id} cannot be a key"
    shown = printable(node.value if isinstance(node.value, str) else str(key), 60)
    return f"the key '{shown}' is given twice" if key in found else ""


def _base_60(yaml: Any, root: Any) -> Iterator[Any]:
    """Yield the nodes of such numbers below ``qubes``, be it below a ``local`` of its own."""
    todo = [
        value
        for top in (root, *(v for k, v in _pairs(yaml, root) if k.value == "local"))
        for key, value in _pairs(yaml, top)
        if key.value == "qubes"
    ]
    seen = set()
    while todo:
        node = todo.pop(0)
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            if node.tag in (f"{_TAG}int", f"{_TAG}float") and _BASE_60.fullmatch(node.value):
                yield node
        else:
            inner = node.value
            todo = [*(n for one in inner for n in (one if isinstance(one, tuple) else (one,))), *todo]


def _pairs(yaml: Any, node: Any) -> list[Any]:
    return list(node.value) if isinstance(node, yaml.MappingNode) else []


def _error(path: str, text: str, error: Any) -> InvalidValue:
    """Return *error* as one sentence with the line, which PyYAML does not know of a character that may not be there."""
    from yaml.reader import Reader, ReaderError

    problem = str(getattr(error, "problem", None) or error)
    mark = getattr(error, "problem_mark", None)
    line = None if mark is None else mark.line + 1
    if problem == "exceeded maximum nesting depth":
        return InvalidValue(f"{path}: is nested too deeply")
    if isinstance(error, ReaderError) and (found := Reader.NON_PRINTABLE.search(text)):
        line = text.count("\n", 0, found.start()) + 1
        problem = f"the character {found[0].encode('unicode_escape').decode()} is not allowed (write it as an escape)"
    place = path if line is None else f"{path}:{line}"
    if problem.startswith("the key '"):
        return InvalidValue(f"{place}: {problem}")
    # Below the key of a mapping "{{ … }}" is YAML of its own, whose errors mean nothing to its author.
    jinja = " (only Salt reads its Jinja; expected the output of salt-call --local pillar.items --out json)"
    return InvalidValue(f"{place}: is not valid YAML: {printable(problem)}{jinja if _JINJA.search(text) else ''}")
