"""What `salt-call sys.doc` prints: the release, an entry for each parameter, an example that fits."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RELEASE = tuple(map(int, (ROOT / "version").read_text().split(".")))
ENTRY = re.compile(r"^(\w+(?:, \w+)*)\n {4}\S", re.MULTILINE)
ADDED = re.compile(r"^\.\. versionadded:: (\d+)\.(\d+)\.(\d+)$", re.MULTILINE)
BLOCK = re.compile(r"^\.\. code-block:: (bash|yaml)\n\n((?: {4}.*\n|\n)+)", re.MULTILINE)


class Function(NamedTuple):
    """A function that Salt calls by *name*, such as ``qubes_vm.get``."""

    name: str
    node: ast.FunctionDef

    @property
    def doc(self) -> str:
        return (ast.get_docstring(self.node) or "") + "\n"

    @property
    def parameters(self) -> list[str]:
        a = self.node.args
        return [one.arg for one in (*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg) if one]

    @property
    def signature(self) -> inspect.Signature:
        a, of = self.node.args, inspect.Parameter
        plain = [*a.posonlyargs, *a.args]
        optional = plain[len(plain) - len(a.defaults) :]
        found = [of(one.arg, of.POSITIONAL_OR_KEYWORD, default=None if one in optional else of.empty) for one in plain]
        found += [of(a.vararg.arg, of.VAR_POSITIONAL)] if a.vararg else []
        for one, default in zip(a.kwonlyargs, a.kw_defaults, strict=True):
            found.append(of(one.arg, of.KEYWORD_ONLY, default=None if default else of.empty))
        return inspect.Signature(found + ([of(a.kwarg.arg, of.VAR_KEYWORD)] if a.kwarg else []))


def functions(folder: str) -> list[Function]:
    found = []
    for path in sorted((ROOT / folder).glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                # Salt's names of what would shadow a built-in of Python (__func_alias__).
                found.append(Function(f"{path.stem}.{node.name.rstrip('_')}", node))
    return found


MODULES, STATES = functions("_modules"), functions("_states")
BOTH = pytest.mark.parametrize("function", [*MODULES, *STATES], ids=lambda one: f"{one.name}-{one.node.lineno}")


def examples(function: Function, language: str) -> Iterator[str]:
    for found, text in BLOCK.findall(function.doc):
        if found == language:
            yield textwrap.dedent(text)


def test_the_modules_and_states_are_all_there() -> None:
    assert {one.name.partition(".")[0] for one in MODULES} >= {"qubes_vm", "qubes_rpc", "qubes_tools", "xenstore"}
    assert len(MODULES) > 60
    assert len(STATES) > 25


@BOTH
def test_every_parameter_has_an_entry_of_its_own(function: Function) -> None:
    entries = [name for names in ENTRY.findall(function.doc) for name in names.split(", ")]
    assert sorted(entries) == sorted(function.parameters)


@BOTH
def test_the_release_is_named_in_which_the_function_came(function: Function) -> None:
    (release,) = ADDED.findall(function.doc)
    assert tuple(map(int, release)) <= RELEASE


@pytest.mark.parametrize("function", MODULES, ids=lambda one: str(one.name))
def test_the_example_of_the_command_line_calls_the_function_as_it_is(function: Function) -> None:
    lines = [line for text in examples(function, "bash") for line in text.replace("\\\n", " ").splitlines()]
    assert lines
    for line in lines:
        command, *words = [word for word in shlex.split(line) if not word.startswith("--")]
        if command == "salt":
            del words[0]  # the minions
        assert (command in ("salt", "salt-call"), words.pop(0)) == (True, function.name)
        pairs = [word.split("=", 1) for word in words if re.match(r"\w+=", word)]
        plain = [yaml.safe_load(word) for word in words if not re.match(r"\w+=", word)]
        function.signature.bind(*plain, **{name: yaml.safe_load(value) for name, value in pairs})


@pytest.mark.parametrize(
    "function", [one for one in STATES if not one.name.endswith(".mod_watch")], ids=lambda one: str(one.name)
)
def test_the_example_of_a_state_gives_the_arguments_that_it_takes(function: Function) -> None:
    (text,) = examples(function, "yaml")
    ((name, states),) = yaml.safe_load(text).items()
    ((called, arguments),) = states.items() if isinstance(states, dict) else [(states, [])]
    assert called == function.name
    given = {key: value for one in arguments or [] for key, value in one.items()}
    function.signature.bind(**{"name": name, **given})


@pytest.mark.parametrize(
    ("definition", "arguments", "more"),
    [("def f(vm): pass", (), {}), ("def f(vm): pass", ("a", "b"), {}), ("def f(vm, *, x=1): pass", ("a",), {"y": 2})],
)
def test_an_example_that_does_not_fit_is_noticed(definition: str, arguments: tuple[str], more: dict[str, Any]) -> None:
    (node,) = ast.parse(definition).body
    assert isinstance(node, ast.FunctionDef)
    with pytest.raises(TypeError):
        Function("m.f", node).signature.bind(*arguments, **more)
