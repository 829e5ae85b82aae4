"""The keyboard: dom0's layout, or its keymap, for every X server of this machine.

After Qubes gui-agent-linux's ``qubes-keymap.sh``: the newer key names layout, variant and options, the older one holds
a whole keymap, which the user's own choice in ``~/.config/qubes-keyboard-layout.rc`` overrides.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping

from vminterface.errors import VMInterfaceError
from vminterface.values.keyboard import KeyboardLayout, Keymap
from vminterface.vm.machine import Machine

SOCKETS = "/tmp/.X11-unix"
#: What was asked for last, for a session that starts later.
STATE = "/run/vminterface/keyboard"
CHOICE = ".config/qubes-keyboard-layout.rc"
#: Layouts in which Latin letters are where everybody expects them; all others get ``us`` as a second group.
_ALONE = ("us", "si")


def apply(inputs: Mapping[str, str], machine: Machine, *, user: str = "user") -> str:
    """Give every X server the layout ``keyboard``, or the keymap ``keymap`` where there is no layout.

    *user* is who owns the X session. Returns what holds now. Raises InvalidValue and VMInterfaceError; X servers that
    had been changed by then get back what they had.
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
    return "no keyboard from dom0: left as it is"


class _XServer:
    """One X server, reached as the user to whom it belongs."""

    def __init__(self, machine: Machine, display: str, user: str) -> None:
        self.display = display
        self._machine = machine
        home = _home(machine, user)
        self._env = {} if home is None else {"HOME": home, "XAUTHORITY": f"{home}/.Xauthority"}
        self._as = ["runuser", "-u", user, "--"] if machine.is_whole and os.geteuid() == 0 and home is not None else []

    def run(self, *words: str, input: bytes = b"") -> bytes:
        return self._machine.run([*self._as, *words], input=input, env=self._env)

    def keymap(self) -> bytes:
        return self.run("xkbcomp", "-w", "0", self.display, "-")

    def load(self, keymap: bytes) -> None:
        self.run("xkbcomp", "-w", "0", "-", self.display, input=keymap)

    def names(self) -> dict[str, str]:
        """Return what the server remembers of how its keymap was asked for: rules, model, layout, variant, options."""
        text = self.run("setxkbmap", "-display", self.display, "-query").decode("ascii", "replace")
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
    names = [re.fullmatch(r"X(\d{1,5})", name, re.ASCII) for name in machine.names(SOCKETS)]
    servers = [_XServer(machine, f":{name[1]}", user) for name in names if name is not None]
    before: list[tuple[_XServer, bytes, dict[str, str]]] = []
    try:
        for server in servers:
            before.append((server, server.keymap(), server.names()))
            setting(server)
        if machine.read_text(STATE) != record:
            machine.write_file(STATE, record)
    except VMInterfaceError:
        for server, keymap, asked in before:
            server.put_back(keymap, asked)
        raise
    where = f"on {', '.join(server.display for server in servers)}" if servers else "takes effect when X starts"
    return f"{words}: {where}"


def _set_layout(server: _XServer, layout: KeyboardLayout) -> None:
    names, variants = layout.layout, layout.variant
    if names not in _ALONE:
        names, variants = f"{names},us", f"{variants}," if variants else ""
    server.ask_for({"layout": names, "variant": variants, "options": layout.options})


def _set_keymap(server: _XServer, keymap: Keymap, choice: KeyboardLayout | None) -> None:
    server.load(keymap.render().encode("ascii"))
    if choice is not None:
        server.ask_for({"layout": choice.layout, "variant": choice.variant})


def _choice(machine: Machine, user: str) -> KeyboardLayout | None:
    """Return the layout that the user chose; without a file that parses, dom0's keymap is not refused."""
    home = _home(machine, user)
    try:
        text = None if home is None else machine.read_text(f"{home}/{CHOICE}", limit=4096)
        return KeyboardLayout.parse(text.strip()) if text and text.strip() else None
    except VMInterfaceError:
        return None


def _home(machine: Machine, user: str) -> str | None:
    for line in (machine.read_text("/etc/passwd") or "").splitlines():
        entry = line.split(":")
        if len(entry) == 7 and entry[0] == user and entry[5].startswith("/"):
            return entry[5]
    return None
