"""The keyboard: dom0's layout, or its keymap, for every X server of this machine.

After Qubes gui-agent-linux's ``qubes-keymap.sh``: the newer key names layout, variant and options, the older one holds
a whole keymap, which the user's own choice in ``~/.config/qubes-keyboard-layout.rc`` overrides.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Mapping

from vminterface.deadline import Deadline
from vminterface.errors import ProgramMissing, VMInterfaceError
from vminterface.values.keyboard import KeyboardLayout, Keymap
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.machine import Machine
from vminterface.vm.machine.programs import TIMEOUT

SOCKETS = "/tmp/.X11-unix"
#: What was asked for last, for a session that starts later.
STATE = "/run/vminterface/keyboard"
CHOICE = ".config/qubes-keyboard-layout.rc"
#: Seconds for all displays together to say what they have; dom0 waits 5 for an acknowledgement.
REACH = 2.0
#: Displays that are tried, those of the lowest numbers: any user of the VM can make sockets.
DISPLAYS = 16
#: Unreachable displays that the note names.
_NAMED = 3
#: Layouts in which Latin letters are where everybody expects them; all others get ``us`` as a second group.
_ALONE = ("us", "si")


def apply(inputs: Mapping[str, str], machine: Machine, *, user: str = "user") -> str:
    """Give every X server the layout ``keyboard``, or the keymap ``keymap`` without a layout.

    *user* is who owns the X session. Returns what holds now; it names the displays that could not be reached, of which
    anybody in the VM may leave one behind. Raises InvalidValue, and VMInterfaceError, also where none of several could
    be reached; X servers that had been changed by then get back what they had.
    """
    if "keyboard" in inputs:
        layout = KeyboardLayout.parse(inputs["keyboard"])
        return _on_all(machine, user, inputs["keyboard"], f"layout {layout.render()}", lambda x: _set_layout(x, layout))
    if "keymap" in inputs:
        text = inputs["keymap"]
        keymap = Keymap.from_escaped(text) if "\\" in text else Keymap.parse(text)
        choice = _choice(machine, user)
        words = "keymap from dom0" + ("" if choice is None else f", then the user's own layout {choice.render()}")
        return _on_all(machine, user, text, words, lambda x: _set_keymap(x, keymap, choice))
    machine.remove(STATE)
    return "no keyboard from dom0: left unchanged"


class _XServer:
    """One X server, reached as the user to whom it belongs."""

    def __init__(self, machine: Machine, display: str, user: str) -> None:
        self.display = display
        self._machine = machine
        home = _home(machine, user)
        self._env = {} if home is None else {"HOME": home, "XAUTHORITY": f"{home}/.Xauthority"}
        self._as = ["runuser", "-u", user, "--"] if machine.is_whole and os.geteuid() == 0 and home is not None else []

    def run(self, *words: str, input: bytes = b"", timeout: float = TIMEOUT) -> bytes:
        return self._machine.run([*self._as, *words], input=input, env=self._env, timeout=timeout)

    def keymap(self, timeout: float = TIMEOUT) -> bytes:
        return self.run("xkbcomp", "-w", "0", self.display, "-", timeout=timeout)

    def load(self, keymap: bytes) -> None:
        self.run("xkbcomp", "-w", "0", "-", self.display, input=keymap)

    def names(self, timeout: float = TIMEOUT) -> dict[str, str]:
        """Return what the server remembers of how its keymap was asked for: rules, model, layout, variant, options."""
        text = self.run("setxkbmap", "-display", self.display, "-query", timeout=timeout).decode("ascii", "replace")
        return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}

    def ask_for(self, names: Mapping[str, str]) -> None:
        """Set the keymap by *names*; variants and options that are not there are cleared."""
        words = ["-variant", names.get("variant", "")]
        words += [word for key in ("rules", "model", "layout") if key in names for word in (f"-{key}", names[key])]
        # The empty option clears those of before: setxkbmap would add to them.
        words += ["-option", "", *(["-option", names["options"]] if names.get("options") else [])]
        self.run("setxkbmap", "-display", self.display, *words)

    def put_back(self, keymap: bytes, names: Mapping[str, str]) -> None:
        """Restore what :meth:`keymap` and :meth:`names` were, as far as it goes: an earlier fault is to be reported."""
        with contextlib.suppress(VMInterfaceError):
            if self.names() != names:
                self.ask_for(names)
            # A keymap of the user's own making is more than its names.
            if self.keymap() != keymap:
                self.load(keymap)


def _on_all(machine: Machine, user: str, record: str, words: str, setting: Callable[[_XServer], None]) -> str:
    there = (re.fullmatch(r"X(\d{1,5})", name, re.ASCII) for name in machine.names(SOCKETS))
    numbers = sorted({int(name[1]) for name in there if name is not None})
    lost = [f":{number}" for number in numbers[DISPLAYS:]]
    reasons: list[VMInterfaceError] = []
    done: list[_Before] = []
    try:
        for before in _all_before([_XServer(machine, f":{number}", user) for number in numbers[:DISPLAYS]]):
            reason = before.failure
            if reason is None:
                done.append(before)
                reason = _set(before.server, setting)
            if reason is not None:
                done = [one for one in done if one is not before]
                lost.append(before.server.display)
                reasons.append(reason)
        if reasons and not done:
            raise VMInterfaceError(f"cannot reach an X display ({_few(lost)}): {reasons[0]}")
        if machine.read_text(STATE) != record:
            machine.write_file(STATE, record)
    except VMInterfaceError:
        for before in done:
            before.server.put_back(before.keymap, before.names)
        raise
    where = f"on {', '.join(one.server.display for one in done)}" if done else "takes effect when X starts"
    return f"{words}: {where}{f'; not reached: {_few(lost)}' if lost else ''}"


def _few(displays: list[str]) -> str:
    more = [f"{len(displays) - _NAMED} more"] if len(displays) > _NAMED else []
    return ", ".join(displays[:_NAMED] + more)


def _set(server: _XServer, setting: Callable[[_XServer], None]) -> VMInterfaceError | None:
    """Do the *setting*; return its error where the server has gone meanwhile, raise it where the server refused."""
    try:
        setting(server)
    except VMInterfaceError as error:
        try:
            server.keymap(REACH)
        except VMInterfaceError:
            return error
        raise
    return None


class _Before:
    """What one X server had before: *keymap* and *names*, or the *failure* to learn them within REACH."""

    def __init__(self, server: _XServer) -> None:
        self.server = server
        self.failure: VMInterfaceError | None = None
        self.keymap = b""
        self.names: dict[str, str] = {}

    def ask(self) -> None:
        """Ask the server."""
        deadline = Deadline.after(REACH)
        try:
            self.keymap = self.server.keymap(REACH)
            self.names = self.server.names(deadline.check(f"the X server {self.server.display}"))
        except VMInterfaceError as error:
            self.failure = error


def _all_before(servers: list[_XServer]) -> list[_Before]:
    """Ask all *servers* at once: one that is stopped costs the others nothing. Raises ProgramMissing."""
    asked = [_Before(server) for server in servers]
    threads = [threading.Thread(target=one.ask, daemon=True) for one in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in asked:
        if isinstance(one.failure, ProgramMissing):
            raise one.failure
    return asked


def _set_layout(server: _XServer, layout: KeyboardLayout) -> None:
    names, variants = layout.layout, layout.variant
    if names not in _ALONE:
        names, variants = f"{names},us", f"{variants}," if variants else ""
    server.ask_for({"layout": names, "variant": variants, "options": layout.options})


def _set_keymap(server: _XServer, keymap: Keymap, choice: KeyboardLayout | None) -> None:
    server.load(keymap.render().encode("ascii"))
    if choice is not None:
        server.ask_for({"layout": choice.layout, "variant": choice.variant})


def _choice(machine: Files, user: str) -> KeyboardLayout | None:
    """Return the layout that the user chose; without a file that parses, dom0's keymap is not refused."""
    home = _home(machine, user)
    try:
        text = None if home is None else machine.read_text(f"{home}/{CHOICE}", limit=4096)
        return KeyboardLayout.parse(text.strip()) if text and text.strip() else None
    except VMInterfaceError:
        return None


def _home(machine: Files, user: str) -> str | None:
    for line in (machine.read_text("/etc/passwd") or "").splitlines():
        entry = line.split(":")
        if len(entry) == 7 and entry[0] == user and entry[5].startswith("/"):
            return entry[5]
    return None
