"""SHA-256, whichever part of Python computes it."""

from __future__ import annotations

import hashlib
import importlib
import subprocess
import sys

import pytest

from lab.paths import PROJECT
from vminterface.values import sha256


@pytest.mark.parametrize("data", [b"", b"abc", bytes(range(256)) * 300])
@pytest.mark.parametrize("own", [sha256._OWN, ()])
def test_it_is_that_of_hashlib(data: bytes, own: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sha256, "_OWN", own)
    sha256._algorithm.cache_clear()
    assert sha256.hexdigest(data) == hashlib.sha256(data).hexdigest()


def test_a_python_without_any_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    sha256._algorithm.cache_clear()
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ImportError, match="no SHA-256"):
        sha256.hexdigest(b"")


def test_openssl_is_not_loaded_for_it() -> None:
    code = (
        "import sys; from vminterface.values import sha256; sha256.hexdigest(b''); sys.exit('_hashlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(PROJECT / "_utils")}, check=False)
    assert done.returncode == 0
