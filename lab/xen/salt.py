"""The part of this environment that Salt in the emulated dom0 needs: its packages, and what a run of it imports."""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import cache_from_source, source_hash
from pathlib import Path

from vminterface.errors import ProgramFailed

#: Of what Salt asks for, what a minion without a cloud never imports and what is large.
_WITHOUT = frozenset({"apache-libcloud", "virtualenv", "tzdata", "setuptools", "pip"})
#: Whose own description is looked up at run time. Salt's loader reads the descriptions of all packages again and again,
#: which takes an emulated dom0 a third of a run.
_DESCRIBED = frozenset({"salt", "opentelemetry-api", "opentelemetry-sdk"})
#: Runs a highstate and writes the names of all modules that are imported then, but those that Salt has loaded itself.
_LISTER = """
import sys
from salt.scripts import salt_call
target = sys.argv.pop()
try:
    salt_call()
except SystemExit as end:
    if end.code:
        raise
names = sorted(name for name, module in sys.modules.items()
    if getattr(module, "__file__", None) and not name.startswith(("salt.loaded", "__")))
open(target, "w").write("".join(f"{name}\\n" for name in names))
"""
_SECONDS = 300.0
#: The flags of a compiled file that has its source's hash, which nobody compares.
_UNCHECKED = 1


def versions() -> list[str]:
    """Return what is installed of what Salt needs, as ``name==version``. Raises ProgramFailed where Salt is not."""
    return [f"{name}=={found.version}" for name, found in sorted(_needed().items())]


def copy(target: Path) -> None:
    """Copy the packages to the new folder *target*, with what is compiled of them. Raises ProgramFailed and OSError."""
    for name, found in _needed().items():
        for top in _top_level(found.files or ()):
            if not top.endswith(".dist-info") or name in _DESCRIBED:
                _copy(Path(str(found.locate_file(top))), target / top)


def write_imports(target: Path) -> None:
    """Write the names of what a highstate imports, one a line, to the file *target*. Raises ProgramFailed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in ("srv", "etc"):
            (folder / each).mkdir()
        (folder / "srv/top.sls").write_text(json.dumps({"base": {"*": ["some"]}}))  # JSON is YAML too
        (folder / "srv/some.sls").write_text(json.dumps({"some": {"test.nop": []}}))
        config = {
            "id": "dom0", "file_client": "local", "root_dir": name, "file_roots": {"base": [f"{folder}/srv"]},
            "log_level": "quiet", "log_level_logfile": "quiet", "user": getpass.getuser(),
        }  # fmt: skip
        (folder / "etc/minion").write_text(json.dumps(config))
        words = ["salt-call", "-c", f"{folder}/etc", "--local", "--out=quiet", "--retcode-passthrough"]
        command = [sys.executable, "-c", _LISTER, *words[1:], "state.highstate", str(target)]
        try:
            done = subprocess.run(
                command, cwd=folder, env={**os.environ, "LC_ALL": "C.UTF-8"}, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, timeout=_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise ProgramFailed(f"salt-call: {error}") from None
    if done.returncode:
        raise ProgramFailed(f"salt-call failed (status {done.returncode}): {(done.stderr or done.stdout)[-1000:]}")


def _needed() -> dict[str, Distribution]:
    """Return Salt and what it needs here, by name."""
    from packaging.requirements import Requirement

    found: dict[str, Distribution] = {}

    def add(name: str) -> None:
        name = re.sub(r"[-_.]+", "-", name).lower()
        if name in found or name in _WITHOUT:
            return
        found[name] = distribution(name)
        for text in found[name].requires or ():
            one = Requirement(text)
            if one.marker is None or one.marker.evaluate({"extra": ""}):
                add(one.name)

    try:
        add("salt")
    except PackageNotFoundError as error:
        raise ProgramFailed(f"this environment lacks a part of Salt: {error}") from None
    return found


def _top_level(files: Iterable[os.PathLike[str]]) -> set[str]:
    tops = {Path(file).parts[0] for file in files}
    return {top for top in tops if top not in ("..", "__pycache__", "bin") and not top.endswith(".pth")}


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        skipped = shutil.ignore_patterns("__pycache__", "tests")
        shutil.copytree(source, target, ignore=skipped, dirs_exist_ok=True, copy_function=_copy_file)
    elif source.exists():  # pip lists some that it has put elsewhere
        _copy_file(str(source), str(target))


def _copy_file(source: str, target: str) -> None:
    """Copy a file, and of a module what Python has compiled, which is good there whatever the file's time (PEP 552)."""
    shutil.copyfile(source, target)
    if not source.endswith(".py"):
        return
    try:
        found, code = os.stat(source), Path(cache_from_source(source)).read_bytes()
    except OSError:
        return
    if struct.unpack_from("<III", code, 4) == (0, int(found.st_mtime) & 0xFFFFFFFF, found.st_size & 0xFFFFFFFF):
        compiled = compiled_file(Path(target))
        compiled.parent.mkdir(exist_ok=True)
        mark = struct.pack("<I", _UNCHECKED) + source_hash(Path(source).read_bytes())
        compiled.write_bytes(code[:4] + mark + code[16:])


def compiled_file(module: Path) -> Path:
    """Return where Python looks for what is compiled of *module*."""
    return module.parent / "__pycache__" / f"{module.stem}.{sys.implementation.cache_tag}.pyc"
