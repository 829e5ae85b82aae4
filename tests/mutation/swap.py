"""Two ways to let a mutant run: its code in the functions of this process, or its text when the file is imported."""

from __future__ import annotations

import functools
import gc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from types import CodeType, FunctionType, ModuleType

from tests.mutation.mutants import Mutant


def functions_of(path: str) -> dict[tuple[int, str], list[FunctionType]]:
    """Return the functions in this process that the file *path* has defined, by first line and qualified name."""
    found: dict[tuple[int, str], list[FunctionType]] = {}
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename == path:
            found.setdefault((thing.__code__.co_firstlineno, thing.__code__.co_qualname), []).append(thing)
    return found


def caches() -> list[functools._lru_cache_wrapper[object]]:
    """Return what keeps results of functions in this process."""
    # Only with functools' type does this ask no proxy of somebody's.
    return [thing for thing in gc.get_objects() if type(thing) is functools._lru_cache_wrapper]


def put_in(mutant: Mutant, path: str, functions: dict[tuple[int, str], list[FunctionType]]) -> bool:
    """Give the functions in this process the mutant's code; return whether that can be done."""
    if mutant.function is None or mutant.function not in functions:
        return False
    line, name = mutant.function
    codes: dict[tuple[int, str], list[CodeType]] = {}
    for code in _codes(compile(mutant.source, path, "exec")):
        codes.setdefault((code.co_firstlineno, code.co_qualname), []).append(code)
    changed: list[tuple[FunctionType, CodeType]] = []
    for key, found in functions.items():
        # Those too that it has made when the file was imported.
        if key == (line, name) or key[1].startswith(f"{name}.<locals>."):
            new = codes.get(key, [])
            if len(new) != 1:
                return False
            changed += [(function, new[0]) for function in found]
    try:
        for function, code in changed:
            function.__code__ = code
    except ValueError:  # it needs other variables of the function around it
        return False
    return True


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


class Importer:
    """Finds one module, in its changed form."""

    def __init__(self, name: str, path: str, source: str) -> None:
        self._name = name
        self._path = path
        self._source = source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the changed module's place, None for all others."""
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(
            fullname, self._path, loader=_Loader(fullname, self._path, self._source)
        )

    def install(self) -> None:
        """Be asked first from now on."""
        sys.meta_path.insert(0, self)


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, fullname: str, path: str, source: str) -> None:
        super().__init__(fullname, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType | None:
        code: CodeType = compile(self._source, self.path, "exec")
        return code
