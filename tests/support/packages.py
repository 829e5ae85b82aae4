"""A machine of :mod:`tests.support.sshvm` with a package manager: rpm with a database of its own, or dpkg."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from tests.support.sshvm import SshVM

#: What the package managers and the running system keep of themselves.
BOOKS = ("/var/lib/rpm", "/usr/lib/sysimage/rpm", "/var/lib/dpkg", "/var/log", "/var/cache", "/root")
#: Folders that every Fedora has, and where packages put files of theirs.
_SHARED = ("/usr/share/licenses", "/usr/share/zsh/site-functions", "/usr/share/fish/vendor_completions.d")
_SPEC = """Name: {name}
Version: 1
Release: 1
Summary: Stands in
License: none
BuildArch: noarch
{provides}
%description
Stands in.
%files
{files}
"""


def build_stand_in(kind: str, folder: Path, name: str, provides: str = "", files: dict[str, str] | None = None) -> Path:
    """Build a package that *provides* others, as its format writes them, and has *files* by path; return its path."""
    with tempfile.TemporaryDirectory() as work:
        root = Path(work, "root")
        for path, text in (files or {}).items():
            file = root / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755)
        if kind == "rpm":
            lines = "\n".join(f"Provides: {one}" for one in provides.split(", ") if one)
            spec = Path(work, "stand-in.spec")
            spec.write_text(_SPEC.format(name=name, provides=lines, files="\n".join(files or {})))
            root.mkdir(exist_ok=True)
            defines = ["--define", f"_topdir {work}/top", "--define", f"_rpmdir {work}/out"]
            _run("rpmbuild", "-bb", *defines, "--buildroot", str(root), str(spec))
            (built,) = Path(work, "out").rglob("*.rpm")
        else:
            (root / "DEBIAN").mkdir(parents=True)
            field = f"Provides: {provides}\n" if provides else ""
            (root / "DEBIAN/control").write_text(
                f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody <root@localhost>\n{field}"
                "Description: stands in\n"
            )
            built = Path(work, f"{name}.deb")
            _run("dpkg-deb", "--root-owner-group", "--build", str(root), str(built))
        target = folder / built.name
        target.write_bytes(built.read_bytes())
        return target


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "LC_ALL": "C"})
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


class Machine:
    """*kind* is ``rpm`` or ``deb``; *folder* is the test's own."""

    def __init__(self, vm: SshVM, kind: str, folder: Path) -> None:
        self.vm, self.kind, self.folder = vm, kind, folder
        if kind == "rpm":
            vm.run(f"rm -rf /var/lib/rpm && mkdir -p /var/lib/rpm {' '.join(_SHARED)} && rpm --initdb")
        vm.run("mkdir -p /run/packages")
        # Images of containers forbid packages by it to start services; no VM has one.
        vm.run("rm -f /usr/sbin/policy-rc.d")
        self._before = self.written()

    def written(self) -> set[str]:
        """What the machine has beside what the package managers keep of themselves."""
        return {path for path in self.vm.written() if not path.startswith(BOOKS)}

    def left(self) -> set[str]:
        """What the machine has now and had not in the beginning, or has no more."""
        return self.written() ^ self._before

    def put(self, path: str, text: str, mode: str = "0644") -> None:
        """Write a file that counts as having been there from the beginning."""
        self._copy(text.encode(), path)
        self.vm.run(f"chmod {mode} {path}")
        self._before = self.written()

    def _copy(self, data: bytes, path: str) -> None:
        command = ["ssh", "work", f"mkdir -p $(dirname {path}) && cat > {path}"]
        subprocess.run(command, env=self.vm.environment, input=data, check=True, timeout=30)

    def package(self, dist: Path, name: str) -> Path:
        """Return the path of the package *name* in *dist* that is for this machine."""
        (found,) = dist.glob(f"{name}-[0-9]*.noarch.rpm" if self.kind == "rpm" else f"{name}_*_all.deb")
        return found

    def manager(self, rpm: str, deb: str, *packages: Path) -> tuple[int, str]:
        """Let the package manager do something with *packages*; return its exit status and what it said."""
        names = []
        for package in packages:
            names.append(f"/run/packages/{package.name}")
            self._copy(package.read_bytes(), names[-1])
        command = " ".join([rpm if self.kind == "rpm" else deb, *names])
        # As it is called by a tool of the distribution, with nobody to be asked.
        done = subprocess.run(
            ["ssh", "work", f"export DEBIAN_FRONTEND=noninteractive LC_ALL=C; {command} 2>&1"],
            env=self.vm.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout

    def install(self, *packages: Path) -> str:
        """Install or upgrade *packages* and return what the package manager said."""
        status, output = self.manager("rpm -U", "dpkg --install --no-debsig", *packages)
        assert status == 0, output
        return output

    def remove(self, name: str, *, purge: bool = False) -> str:
        """Remove a package, with its configuration if it is to be purged and the package manager knows how to."""
        status, output = self.manager(f"rpm -e {name}", f"dpkg --{'purge' if purge else 'remove'} {name}")
        assert status == 0, output
        return output

    def version(self, name: str) -> str:
        """Return the version of an installed package."""
        query = f"rpm -q --qf %{{VERSION}} {name}" if self.kind == "rpm" else f"dpkg-query -W -f '${{Version}}' {name}"
        return self.vm.run(query).partition("-")[0]

    def stand_in(self, name: str, provides: str = "", files: dict[str, str] | None = None) -> Path:
        """Build a package, as :func:`build_stand_in` does."""
        return build_stand_in(self.kind, self.folder, name, provides, files)
