"""A real Chromium without a screen, steered by its DevTools protocol over two pipes: no port, no library.

Source: Chrome DevTools Protocol; with ``--remote-debugging-pipe`` messages are JSON between NUL bytes, commands on
descriptor 3, replies and events on 4.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

#: Seconds for the browser to begin, and for one reply.
PATIENCE = 60.0
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--no-first-run",
    "--no-default-browser-check", "--remote-debugging-pipe",
)  # fmt: skip


def missing() -> str:
    """Return why there is no browser here, or empty text."""
    return "" if shutil.which("chromium") else "Chromium is not installed"


class Chromium:
    """One window of a browser whose profile is in *folder*. Use it in a ``with`` block."""

    def __init__(self, folder: Path, width: int = 1280, height: int = 900) -> None:
        self._command = ["chromium", *_OPTIONS, f"--user-data-dir={folder}", f"--window-size={width},{height}"]
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._session = ""
        #: Every event's method and parameters so far.
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __enter__(self) -> Self:
        command_read, self._to = os.pipe()
        self._from, reply_write = os.pipe()

        def pipes() -> None:
            # The first copies may be one of the two numbers themselves.
            high = [os.dup(command_read), os.dup(reply_write)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self._process = subprocess.Popen(
            self._command, preexec_fn=pipes, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        os.close(command_read)
        os.close(reply_write)
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Accessibility"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        os.close(self._to)
        os.close(self._from)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Make one call and return its result."""
        number = next(self._numbers)
        session = {"sessionId": self._session} if self._session else {}
        message = json.dumps({"id": number, "method": method, "params": parameters, **session})
        os.write(self._to, message.encode() + b"\0")
        while True:
            reply = self._next()
            if reply.get("id") == number:
                assert "error" not in reply, f"{method}: {reply['error']}"
                result: dict[str, Any] = reply["result"]
                return result

    def wait_for(self, method: str) -> dict[str, Any]:
        """Return the parameters of the next event called *method*."""
        seen = len(self.events)
        while True:
            for name, parameters in self.events[seen:]:
                if name == method:
                    return parameters
            seen = len(self.events)
            self._next()

    def open(self, path: Path) -> float:
        """Open a file; return the seconds until all of it was laid out and painted."""
        began = time.monotonic()
        self.call("Page.navigate", url=path.as_uri())
        self.wait_for("Page.loadEventFired")
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return time.monotonic() - began

    def evaluate(self, expression: str) -> Any:
        """Return what a script's expression comes to, as plain data; promises are waited for."""
        done = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """Press and release a key, as a person does; *code* is its virtual key code."""
        text = {"text": "\r"} if key == "Enter" else {"text": " "} if key == " " else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def screenshot(self, path: Path) -> None:
        """Write what the window has as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def _next(self) -> dict[str, Any]:
        """Return the next message; an event is noted too."""
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"Chromium does not reply within {PATIENCE:g} s"
            data = os.read(self._from, 1 << 20)
            assert data, f"Chromium has ended with status {self._process.poll()}"
            self._buffer += data
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        if "method" in message:
            self.events.append((message["method"], message.get("params", {})))
        return message
