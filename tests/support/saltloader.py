"""Salt's loaders as they are, but for what each of them searches anew: Salt's modules, ours, and installed packages.

A state that is applied makes some twenty loaders, and each lists its folders twice, with all of the hundreds of modules
that Salt has. That was half of what the tests through Salt took. What is part of Salt, of this tree or installed does
not change while tests run; all other folders are searched as ever.

Each loader of Salt 3008 also asks its options whether they are empty, which counts all of them, through all the copies
that they are of others: that was a quarter of what these tests took then.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import pytest
import salt.utils.entrypoints
from salt.loader.lazy import LazyLoader
from salt.utils.entrypoints import iter_entry_points

from lab.paths import PROJECT

try:
    from salt.utils.optsdict import OptsDict
except ImportError:  # before 3008
    OptsDict = None

#: Where nothing changes while tests run.
_FIXED = (os.path.dirname(salt.__file__) + os.sep, str(PROJECT) + os.sep)


def search_once(patch: pytest.MonkeyPatch) -> None:
    """Let all loaders of this process share what one has found, as long as what is in other folders stays the same."""
    search = LazyLoader._refresh_file_mapping
    found: dict[Any, tuple[dict[str, Any], dict[str, Any], list[str]]] = {}

    def refresh(loader: Any) -> None:
        others = tuple(_listing(folder) for folder in loader.module_dirs if not str(folder).startswith(_FIXED))
        files = tuple(loader.module_dirs), tuple(loader.static_modules), frozenset(loader.disabled), others
        if files not in found:
            search(loader)
            found[files] = loader.file_mapping.copy(), loader.suffix_map.copy(), loader.suffix_order.copy()
        loader.file_mapping, loader.suffix_map, loader.suffix_order = (part.copy() for part in found[files])

    if OptsDict is not None:
        patch.setattr(
            OptsDict, "__bool__", lambda opts: any(key in opts for key in opts._get_all_keys()), raising=False
        )
    patch.setattr(LazyLoader, "_refresh_file_mapping", refresh)
    patch.setattr(salt.utils.entrypoints, "iter_entry_points", functools.cache(iter_entry_points))


def _listing(folder: str) -> Any:
    """Return the names in *folder*, and in the folders there: packages, and what Python has compiled."""
    try:
        with os.scandir(folder) as entries:
            inside = {one.name: tuple(sorted(os.listdir(one.path))) if one.is_dir() else () for one in entries}
    except OSError:
        return None
    return tuple(sorted(inside.items()))
