"""Keeps what Python has compiled of the library where Salt does not remove it.

Salt syncs ``_utils`` into ``extmods`` of its cache and then removes from there whatever is not in the file roots:
each run would compile the whole library anew. So there, and only there, what is compiled goes into a folder beside
``extmods``.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from types import CodeType

#: Part of a path of which the front is Salt's cache folder, the end one of its synced files.
SYNCED = "/extmods/utils/"
#: The folder's name.
FOLDER = "vminterface-bytecode"


def keep(package: str) -> None:
    """Let modules below the folder *package* be compiled once, if that is one that Salt has synced."""
    cache, synced, _ = package.partition(SYNCED)
    if not synced:
        return

    class Loader(SourceFileLoader):
        """Loads a module, its compiled form from the other folder."""

        def get_code(self, fullname: str) -> CodeType | None:
            before, sys.pycache_prefix = sys.pycache_prefix, os.path.join(cache, FOLDER)
            try:
                return super().get_code(fullname)
            finally:
                sys.pycache_prefix = before

    def hook(path: str) -> FileFinder:
        if path != package and not path.startswith(package + "/"):
            raise ImportError(f"{path} is not a part of {package}")
        return FileFinder(path, (Loader, SOURCE_SUFFIXES))

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.pop(package, None)
