"""``python -m lab.xen``: build the emulated Xen host, show the product on it, or remove what is kept of it."""

from __future__ import annotations

import argparse
import sys
import time

from lab.xen import demo, image, paths
from vminterface.errors import VMInterfaceError


def _build() -> int:
    began = time.monotonic()
    made = image.build(lambda step: print(f"[{time.monotonic() - began:4.0f} s] {step}", flush=True))
    for file in (made.xen, made.kernel, made.dom0, made.disk):
        print(f"  {file.stat().st_size >> 20:4} MiB  {file}")
    return 0


def _clean() -> int:
    kept = [folder for folder in paths.folders() if not paths.remove(folder)]
    for folder in kept:
        print(f"in use, so left: {folder}", file=sys.stderr)
    return 1 if kept else 0


def main(arguments: list[str] | None = None) -> int:
    """Return the exit status: 0, 1 if something failed, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(prog="lab.xen", description="A real Xen host in an emulated machine.")
    commands = parser.add_subparsers(required=True)
    steps = {_build: "make the image", demo.demo: "show the product at work", _clean: "remove the cache"}
    for run, text in steps.items():
        name = run.__name__.strip("_")
        commands.add_parser(name, help=text).set_defaults(run=run)
    options = parser.parse_args(arguments)
    try:
        return int(options.run())
    except (VMInterfaceError, OSError) as error:
        print(f"lab.xen: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
