"""NetworkManager's sleep: over D-Bus, or by stopping it where that cannot be done (its D-Bus API, method ``Sleep``)."""

from __future__ import annotations

from vminterface.vm.handlers.runtime.steps import Steps

#: Exists while dom0 has the service ``network-manager`` switched on here.
FLAG = "/run/qubes-service/network-manager"

_NAME = "org.freedesktop.NetworkManager"
_OBJECT = "/org/freedesktop/NetworkManager"


def sleep(steps: Steps, asleep: bool) -> None:
    """Let NetworkManager sleep or wake, if it is this VM's."""
    if not steps.machine.exists(FLAG):
        return
    word = "true" if asleep else "false"
    if steps.machine.which("busctl"):
        argv = ["busctl", "--system", "--timeout=5", "call", _NAME, _OBJECT, _NAME, "Sleep", "b", word]
    else:
        argv = ["dbus-send", "--system", "--print-reply", "--reply-timeout=5000", f"--dest={_NAME}", _OBJECT]
        argv += [f"{_NAME}.Sleep", f"boolean:{word}"]
    error = steps.attempt(argv)
    if error and f"already {'asleep' if asleep else 'awake'}" not in error.lower():
        steps.run(["systemctl", "stop" if asleep else "start", "NetworkManager.service"])
