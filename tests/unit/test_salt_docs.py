"""What `salt-call sys.doc` prints: the release, an entry for each parameter, an example that fits.

``tests/functional/salt/test_examples.py`` runs the examples.
"""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest
import yaml

from tests.support.docexamples import ROOT, Function, command_lines, functions, state_example

RELEASE = tuple(map(int, (ROOT / "version").read_text().split(".")))
ENTRY = re.compile(r"^(\w+(?:, \w+)*)\n {4}\S", re.MULTILINE)
ADDED = re.compile(r"^\.\. versionadded:: (\d+)\.(\d+)\.(\d+)$", re.MULTILINE)


MODULES, STATES, RUNNERS = (functions(folder) for folder in ("_modules", "_states", "_runners"))
ALL = pytest.mark.parametrize(
    "function", [*MODULES, *STATES, *RUNNERS], ids=lambda one: f"{one.name}-{one.node.lineno}"
)


def test_the_modules_and_states_are_all_there() -> None:
    assert {one.name.partition(".")[0] for one in MODULES} >= {"qubes_vm", "qubes_rpc", "qubes_tools", "xenstore"}
    assert len(MODULES) > 60
    assert len(STATES) > 25


@ALL
def test_every_parameter_has_an_entry_of_its_own(function: Function) -> None:
    entries = [name for names in ENTRY.findall(function.doc) for name in names.split(", ")]
    assert sorted(entries) == sorted(function.parameters)


@ALL
def test_the_release_is_named_in_which_the_function_came(function: Function) -> None:
    (release,) = ADDED.findall(function.doc)
    assert tuple(map(int, release)) <= RELEASE


@pytest.mark.parametrize("function", [*MODULES, *RUNNERS], ids=lambda one: str(one.name))
def test_the_example_of_the_command_line_calls_the_function_as_it_is(function: Function) -> None:
    lines = command_lines(function)
    assert lines
    for line in lines:
        command, *words = [word for word in line if not word.startswith("--")]
        if command == "salt":
            del words[0]  # the minions
        assert command in (("salt-run",) if function in RUNNERS else ("salt", "salt-call"))
        assert words.pop(0) == function.name
        pairs = [word.split("=", 1) for word in words if re.match(r"\w+=", word)]
        plain = [yaml.safe_load(word) for word in words if not re.match(r"\w+=", word)]
        function.signature.bind(*plain, **{name: yaml.safe_load(value) for name, value in pairs})


@pytest.mark.parametrize(
    "function", [one for one in STATES if not one.name.endswith(".mod_watch")], ids=lambda one: str(one.name)
)
def test_the_example_of_a_state_gives_the_arguments_that_it_takes(function: Function) -> None:
    called, arguments = state_example(function)
    assert called == function.name
    function.signature.bind(**arguments)


@pytest.mark.parametrize(
    ("definition", "arguments", "more"),
    [("def f(vm): pass", (), {}), ("def f(vm): pass", ("a", "b"), {}), ("def f(vm, *, x=1): pass", ("a",), {"y": 2})],
)
def test_an_example_that_does_not_fit_is_noticed(definition: str, arguments: tuple[str], more: dict[str, Any]) -> None:
    (node,) = ast.parse(definition).body
    assert isinstance(node, ast.FunctionDef)
    with pytest.raises(TypeError):
        Function("m.f", node).signature.bind(*arguments, **more)
