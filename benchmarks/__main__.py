"""Run all benchmarks, or those that are named, and print one table of what they measured.

    PYTHONPATH=_utils:. python -m benchmarks [NAME ...]

Each has its turn even where an earlier one misses what is wanted of it. Exit status 1 where one missed, or failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import rows

#: The files beside this one that are no benchmarks.
_OTHERS = ("__init__", "__main__", "rows")
_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return the names of all benchmarks."""
    return sorted(path.stem for path in _FOLDER.glob("*.py") if path.stem not in _OTHERS)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run benchmarks, and print one table of their rows.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"these alone (default: {', '.join(names())})")
    chosen = parser.parse_args().names or names()
    if unknown := sorted(set(chosen) - set(names())):
        parser.error(f"'{unknown[0]}' is not a benchmark (expected one of: {', '.join(names())})")
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "rows")
        found.touch()
        for name in chosen:
            print(f"== {name}", flush=True)
            before = len(rows.read(str(found)))
            ended = subprocess.run(
                [sys.executable, str(_FOLDER / f"{name}.py")],
                env={**os.environ, rows.FILE_VARIABLE: str(found)},
                check=False,
            )
            # What misses a target says so in its rows; another end is an error of its own.
            if ended.returncode not in (0, 1) or len(rows.read(str(found))) == before:
                failed.append(name)
        every = rows.read(str(found))
    print(f"\n{rows.table(every)}")
    for name in failed:
        print(f"  {name}: failed, see above")
    return 1 if failed or not all(row.met for row in every) else 0


if __name__ == "__main__":
    sys.exit(main())
