"""A stand-in for ``xrandr`` in a VM: it keeps 16 dummy outputs a display, their modes and places in a file."""

from __future__ import annotations

import sys

from tests.support.rpcstandin import StandIn

_PROGRAM = r"""
import json, os, sys
state_file = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"xrandr{os.environ['DISPLAY']}.json")
try:
    state = json.load(open(state_file))
except FileNotFoundError:
    state = {"modes": [], "outputs": {f"DUMMY{i}": {"modes": [], "at": None} for i in range(16)}}
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
        output = state["outputs"][words.pop(0)]
    elif word == "--off":
        output["at"] = None
    elif word == "--mode":
        output["mode"] = words.pop(0)
    elif word == "--pos":
        x, y = words.pop(0).split("x")
        output["at"] = [int(x), int(y)]
    elif word == "--set":
        words = words[2:]
if anything:
    json.dump(state, open(state_file, "w"))
else:
    print("Screen 0: minimum 64 x 64, current 1920 x 1080, maximum 32767 x 32767")
    for name, one in state["outputs"].items():
        size = one["mode"][2:] if one["at"] else ""
        print(f"{name} connected" + (f" {size}+{one['at'][0]}+{one['at'][1]} (normal) 0mm x 0mm" if one["at"] else ""))
        for mode in one["modes"]:
            print(f"   {mode}  60.00" + ("*" if one["at"] and one["mode"] == mode else ""))
"""


def fake_xrandr(vms: StandIn, vm: str) -> None:
    """Give *vm* the program; at first none of its outputs shows anything."""
    script = vms.folder / "vms" / f"{vm}.root/usr/local/bin/xrandr.py"
    script.write_text(_PROGRAM)
    vms.program(vm, "xrandr", f'exec {sys.executable} -IS "{script}" "$@"')
