"""A stand-in for ``xrandr`` in a VM: it keeps 16 dummy outputs a display, their modes, places and sizes, in a file.

In another file it writes down the words of each call that changes something, one call a line.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.rpcstandin import StandIn

_PROGRAM = r"""
import json, os, sys
folder = os.path.dirname(os.path.abspath(__file__))
state_file = os.path.join(folder, f"xrandr{os.environ['DISPLAY']}.json")
try:
    state = json.load(open(state_file))
except FileNotFoundError:
    state = {"modes": [], "outputs": {f"DUMMY{i}": {"modes": [], "at": None, "mm": {}} for i in range(16)}}
words, output, anything = sys.argv[1:], None, False
while words:
    word = words.pop(0)
    if word in ("-q", "--query", "--prop", "--verbose"):
        continue
    anything = True
    if word == "--newmode":
        state["modes"].append(words[0]); words = []
    elif word == "--addmode":
        state["outputs"][words[0]]["modes"].append(words[1]); words = words[2:]
    elif word in ("--rmmode", "--delmode"):
        words = []
    elif word == "--output":
        called = words.pop(0)
        output = state["outputs"][called]
    elif word == "--primary":
        state["primary"] = called
    elif word == "--noprimary":
        state["primary"] = None
    elif word == "--off":
        output["at"] = None
    elif word == "--mode":
        output["mode"] = words.pop(0)
    elif word == "--pos":
        x, y = words.pop(0).split("x")
        output["at"] = [int(x), int(y)]
    elif word == "--set":
        output["mm"][words[0]] = words[1]; words = words[2:]
if anything:
    # The real one moves the whole layout so that it begins at 0, 0.
    shown = [one["at"] for one in state["outputs"].values() if one["at"]]
    left, top = (min((at[i] for at in shown), default=0) for i in (0, 1))
    for at in shown:
        at[0] -= left
        at[1] -= top
    json.dump(state, open(state_file, "w"))
    print(*sys.argv[1:], file=open(os.path.join(folder, "xrandr.calls"), "a"))
else:
    print("Screen 0: minimum 64 x 64, current 1920 x 1080, maximum 32767 x 32767")
    for name, one in state["outputs"].items():
        size = one["mode"][2:] if one["at"] else ""
        connected = f"{name} connected" + " primary" * (state.get("primary") == name)
        print(connected + (f" {size}+{one['at'][0]}+{one['at'][1]} (normal) 0mm x 0mm" if one["at"] else ""))
        for name in ("WIDTH_MM", "HEIGHT_MM") if "--prop" in sys.argv else ():
            print(f"\t{name}: {one['mm'].get(name, 0)}")
        for mode in one["modes"]:
            print(f"   {mode}  60.00" + ("*" if one["at"] and one["mode"] == mode else ""))
"""


def xrandr_in(folder: Path) -> None:
    """Put the program into *folder*, with its files ``xrandr:0.json`` (what that display has) and ``xrandr.calls``."""
    script, program = folder / "xrandr.py", folder / "xrandr"
    script.write_text(_PROGRAM)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -IS "{script}" "$@"')
    program.chmod(0o755)


def fake_xrandr(vms: StandIn, vm: str) -> None:
    """Give *vm* the program; at first none of its outputs shows anything."""
    xrandr_in(vms.folder / "vms" / f"{vm}.root/usr/local/bin")
