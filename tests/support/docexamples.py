"""The functions that Salt's faces have, and the examples in their docstrings, read without loading anything."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
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


def examples(function: Function, language: str) -> Iterator[str]:
    for found, text in BLOCK.findall(function.doc):
        if found == language:
            yield textwrap.dedent(text)


def command_lines(function: Function) -> list[list[str]]:
    """Return the words of each command line that is an example of *function*."""
    return [shlex.split(line) for text in examples(function, "bash") for line in text.replace("\\\n", " ").splitlines()]


def state_example(function: Function) -> tuple[str, dict[str, Any]]:
    """Return function and arguments, with the state's id as its name, of the one state that is the example."""
    (text,) = examples(function, "yaml")
    ((name, states),) = yaml.safe_load(text).items()
    ((called, arguments),) = states.items() if isinstance(states, dict) else [(states, [])]
    return called, {"name": name, **{key: value for one in arguments or [] for key, value in one.items()}}
