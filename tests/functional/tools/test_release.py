"""A release is checked before anything is made; then it is tagged, built and signed, with a key made for the test."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.paths import PROJECT

KEY = "release@vminterface.example.org"
CHANGELOG = "# Changelog\n\n## 1.2.0, 2026-12-01\n\n### Added\n\n- All of it.\n\n## 1.1.0, 2026-01-01\n\n- Less.\n"

pytestmark = pytest.mark.skipif(not shutil.which("gpg"), reason="gpg is not installed (Debian package gnupg)")


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    # The agent's socket is in it, and the path of a socket must be short.
    folder = Path("/tmp") / f"vmi-keys-{os.getpid()}"
    folder.mkdir(mode=0o700)
    environment = {**os.environ, "GNUPGHOME": str(folder)}
    words = ["gpg", "--batch", "--passphrase", "", "--quick-generate-key", KEY, "ed25519", "sign", "never"]
    subprocess.run(words, env=environment, check=True, capture_output=True, timeout=60)
    yield folder
    subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=False, timeout=30)
    shutil.rmtree(folder, ignore_errors=True)


class Tree:
    """A repository with what a release looks at."""

    def __init__(self, root: Path, keyring: Path) -> None:
        self.root = root
        self.environment = {
            **os.environ, "GNUPGHOME": str(keyring), "KEY": KEY, "BUILD": "sh build", "HOME": str(root.parent),
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": KEY, "GIT_COMMITTER_NAME": "A",
            "GIT_COMMITTER_EMAIL": KEY,
        }  # fmt: skip
        for path, text in {
            "version": "1.2.0\n",
            "rel": "1\n",
            "CHANGELOG.md": CHANGELOG,
            "changelog.d/README.md": "How.\n",
            "debian/changelog": "vminterface (1.2.0-1) unstable; urgency=medium\n",
            "_utils/vminterface/__init__.py": '__version__ = "1.2.0"\n',
            ".gitignore": "/dist/\n",
            "build": "mkdir -p dist && echo package >dist/vminterface.rpm && echo other >dist/vminterface.deb\n",
        }.items():
            self.write(path, text)
        self.git("init", "--quiet", "--initial-branch", "main")
        self.commit()

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=self.root, env=self.environment, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Change it")

    def release(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROJECT / "tools/release", *words],
            cwd=self.root,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture
def tree(tmp_path: Path, keyring: Path) -> Tree:
    root = tmp_path / "tree"
    root.mkdir()
    return Tree(root, keyring)


def test_a_release_is_a_signed_tag_and_packages_with_signed_checksums(tree: Tree) -> None:
    done = tree.release()
    assert done.returncode == 0, done.stderr
    assert "v1.2.0 is tagged and signed, dist/ has 2 files" in done.stdout
    assert "All of it." in tree.git("cat-file", "tag", "v1.2.0")
    assert "Less." not in tree.git("cat-file", "tag", "v1.2.0")
    sums = (tree.root / "dist/SHA256SUMS").read_text()
    assert [line.split()[1] for line in sums.splitlines()] == ["vminterface.deb", "vminterface.rpm"]
    check = ["gpg", "--verify", "dist/SHA256SUMS.asc", "dist/SHA256SUMS"]
    assert subprocess.run(check, cwd=tree.root, env=tree.environment, capture_output=True, timeout=30).returncode == 0


def test_the_same_commit_is_released_again_with_the_tag_that_it_has(tree: Tree) -> None:
    assert tree.release().returncode == 0
    before = tree.git("rev-parse", "v1.2.0")
    assert tree.release().returncode == 0
    assert tree.git("rev-parse", "v1.2.0") == before


def test_a_check_makes_nothing(tree: Tree) -> None:
    done = tree.release("check")
    assert (done.returncode, done.stdout) == (0, "release: 1.2.0 can be made\n")
    assert tree.git("tag") == ""
    assert not (tree.root / "dist").exists()


@pytest.mark.parametrize(
    ("path", "text", "error"),
    [
        ("CHANGELOG.md", "## 1.2.0, unreleased\n", "CHANGELOG.md: begins with '## 1.2.0, unreleased' (expected"),
        ("CHANGELOG.md", "## 1.1.0, 2026-01-01\n", "CHANGELOG.md: begins with '## 1.1.0, 2026-01-01' (expected"),
        ("changelog.d/7.fixed.md", "It.\n", "changelog.d: changelog.d/7.fixed.md is not in CHANGELOG.md yet"),
        (
            "debian/changelog",
            "vminterface (1.1.0-1) x\n",
            "debian/changelog: does not begin with vminterface (1.2.0-1)",
        ),
        ("version", "1.3.0\n", "_utils/vminterface/__init__.py: __version__ is not 1.3.0"),
    ],
)
def test_what_does_not_agree_is_named_and_nothing_is_made(tree: Tree, path: str, text: str, error: str) -> None:
    tree.write(path, text)
    tree.commit()
    done = tree.release()
    assert done.returncode == 1
    assert f"release: {error}" in done.stderr
    assert tree.git("tag") == ""


def test_what_is_not_committed_is_no_part_of_a_release(tree: Tree) -> None:
    tree.write("new", "")
    assert "changes that are not committed" in tree.release().stderr


def test_a_tag_of_another_commit_stays(tree: Tree) -> None:
    tree.git("tag", "v1.2.0")
    tree.write("new", "")
    tree.commit()
    assert "the tag v1.2.0 is of another commit" in tree.release().stderr


@pytest.mark.parametrize(
    ("key", "error"),
    [("", "no key to sign with"), ("nobody@vminterface.example.org", "gpg has no secret key 'nobody@")],
)
def test_without_a_key_nothing_is_tagged(tree: Tree, key: str, error: str) -> None:
    assert error in tree.release(KEY=key).stderr
    assert tree.git("tag") == ""
