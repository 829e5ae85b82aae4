"""What stands around a template's package: a web server that can break off, and dom0's ``rpmkeys``."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def rpmkeys(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, said: str = "digests signatures OK", status: int = 0
) -> None:
    """Let dom0 have an ``rpmkeys`` in *folder* that takes every key, and says *said* of every package."""
    folder.mkdir(exist_ok=True)
    program = folder / "rpmkeys"
    program.write_text(
        f'#!/bin/sh\ncase $* in *--import*) exit 0 ;; esac\nfor path; do :; done\necho "$path: {said}"\nexit {status}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@contextmanager
def web(folder: Path, *, most: int | None = None) -> Iterator[int]:
    """Serve the files of *folder* on a port of the loopback; each reply ends after *most* bytes, as a bad mirror's."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = folder / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
            data = path.read_bytes()
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            self.wfile.write(data[start:][:most])

        def log_message(self, format: str, *args: object) -> None:
            """Keep the tests' output free of requests."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
