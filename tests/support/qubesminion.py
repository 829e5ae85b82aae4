"""Qubes' Salt in dom0, masterless, with the files where its packages put them; and what a VM's management VM gets.

``/srv`` is a folder of the test's own, in a mount namespace. Top files are put together from those that are enabled, as
``qubesctl top.enable`` does it; three external pillars say below ``qubes:`` what qubesd knows of a VM.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import salt.version
import yaml

from lab.paths import PROJECT

FORMULA = "srv/formulas/base/vminterface-formula"
#: Puts together the enabled tops of one kind: targets of several are added up.
_TOP = """#!py
import pathlib

import yaml


def run():
    merged = {}
    for file in sorted(pathlib.Path("/srv/KIND/_tops").glob("*/*.top")):
        for env, targets in yaml.safe_load(file.read_text()).items():
            for target, wanted in targets.items():
                merged.setdefault(env, {}).setdefault(target, []).extend(wanted)
    return merged or {"base": {}}
"""
_EXT_PILLAR = """import json
import pathlib


def ext_pillar(minion_id, pillar, *args):
    known = json.loads(pathlib.Path("/srv/qubesd.json").read_text()).get(minion_id, {})
    return {"qubes": {name: value for name, value in known.items() if name in FIELDS}}
"""
_FIELDS = {"qvm_prefs": ["type", "template", "netvm"], "qvm_features": ["features"], "qvm_tags": ["tags"]}


def missing() -> str:
    """Say what this machine lacks for it, "" if nothing."""
    done = subprocess.run([*_unshare(), "mount --bind /srv /srv", "x"], capture_output=True, timeout=10)
    return "" if done.returncode == 0 else f"no folder in the place of /srv here: {done.stderr.decode().strip()}"


def _unshare() -> list[str]:
    return ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c"]


class QubesMinion:
    """The minion ``dom0`` below the folder *root*."""

    def __init__(self, root: Path, **config: Any) -> None:
        self.root, self.etc = root, root / "etc/salt"
        self.environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self.status = 0
        # As the package has it; what its pillar and its tops are follows below.
        places = {"SALT": FORMULA, "LIBRARY": "usr/lib/vminterface", "PILLAR": "unused", "SHARE": "unused"}
        environment = {**os.environ, **{name: f"{root}/{place}" for name, place in places.items()}, "TOPS": "topd"}
        subprocess.run([PROJECT / "tools/install"], env=environment, check=True, capture_output=True)
        for kind in ("salt", "pillar"):
            self.write(f"srv/{kind}/top.sls", _TOP.replace("KIND", kind))
        for name, fields in _FIELDS.items():
            self.write(f"srv/salt/_pillar/{name}.py", f"FIELDS = {fields!r}\n{_EXT_PILLAR}")
        self.qubesd({"dom0": {"type": "admin", "tags": []}})
        # As make install and the packages leave them.
        self.write("srv/pillar/vminterface.top", "base: {dom0: [vminterface]}")
        self.write("srv/pillar/vminterface-vms.top", "base: {not dom0: [{match: compound}, vminterface-vms]}")
        shutil.copy(PROJECT / "pillar/vminterface/init.sls", root / "srv/pillar/vminterface-vms.sls")
        self.pillar({"vms": {}})
        for env in ("srv/user_salt", "srv/user_pillar"):
            (root / env).mkdir()
        self.configure("f_defaults", self._qubes())
        self.configure("qubes_ext_pillar", {"ext_pillar": [{name: []} for name in sorted(_FIELDS)]})
        self.configure("formula-vminterface", {"file_roots": {"base": [f"/{FORMULA}"]}})
        self.configure("zz-test", {"root_dir": str(root / "root"), "enable_fqdns_grains": False, **config})

    @classmethod
    def stock_files(cls) -> dict[str, str]:
        """Return what Qubes' packages put into a dom0, by path: its configuration, and the two top files."""
        tops = {f"/srv/{kind}/top.sls": _TOP.replace("KIND", kind) for kind in ("salt", "pillar")}
        return {"/etc/salt/minion.d/f_defaults.conf": yaml.safe_dump(cls._qubes()), **tops}

    @staticmethod
    def _qubes() -> dict[str, Any]:
        """What Qubes' packages configure, of that what matters here."""
        # Salt 3008 masks what is printed of a pillar, and so what qubesctl sends to a VM.
        unmasked = {"pillar_mask_output": False} if salt.version.__saltstack_version__.major >= 3008 else {}
        return {
            "id": "dom0",
            "file_client": "local",
            "file_roots": {"base": ["/srv/salt"], "user": ["/srv/user_salt"]},
            "pillar_roots": {"base": ["/srv/pillar", "/srv/pillar/base"], "user": ["/srv/user_pillar"]},
            "top_file_merging_strategy": "merge",
            "default_top": "base",
            "env_order": [],
            "pillar_opts": True,
            "retcode_passthrough": True,
            "renderer": "yaml_jinja",
            "autoload_dynamic_modules": True,
            "clean_dynamic_modules": True,
            "nodegroups": {"dom0": "dom0", "vm": "* and not dom0"},
            **unmasked,
        }

    def write(self, path: str, text: str) -> None:
        """Write a file below the root."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def configure(self, name: str, config: dict[str, Any]) -> None:
        """Write ``/etc/salt/minion.d/NAME.conf``."""
        self.write(f"etc/salt/minion.d/{name}.conf", yaml.safe_dump(config))

    def pillar(self, qubes: Any) -> None:
        """Let dom0's pillar file say *qubes*."""
        self.write("srv/pillar/vminterface.sls", yaml.safe_dump({"qubes": qubes}))

    def own(self, own: Any) -> None:
        """Let the pillar file of the VMs' side say *own*, ``vminterface:``."""
        self.write("srv/pillar/vminterface-vms.sls", yaml.safe_dump({"vminterface": own}))

    def qubesd(self, known: dict[str, Any]) -> None:
        """Let the external pillars say *known* of VMs, by name."""
        self.write("srv/qubesd.json", json.dumps(known))

    def enable(self, *tops: str, pillar: bool = False) -> None:
        """Enable a top file by its name, as ``qubesctl top.enable`` does."""
        kind = "pillar" if pillar else "salt"
        folder = self.root / f"srv/{kind}/_tops/base"
        folder.mkdir(parents=True, exist_ok=True)
        for top in tops:
            places = ["srv/pillar"] if pillar else [FORMULA]
            path = top.replace(".", "/")
            found = [f"{place}/{path}{end}" for place in places for end in (".top", "/init.top")]
            (place,) = (place for place in found if (self.root / place).exists())
            (folder / f"{top}.top").symlink_to(f"/{place}")

    def run(self, program: str, *words: str, srv: Path | None = None) -> tuple[int, str, str]:
        """Run a program beside Salt's, or Python, with *srv* as ``/srv``; return status, output and errors."""
        command = [str(Path(sys.executable).with_name(program)), *words]
        script = 'srv=$0; mount --bind "$srv" /srv && exec "$@"'
        done = subprocess.run(
            [*_unshare(), script, str(srv or self.root / "srv"), *command],
            env=self.environment,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        return done.returncode, done.stdout, done.stderr

    def call(self, *words: str, vm: str = "dom0") -> Any:
        """Return what ``salt-call --local`` says, for the minion *vm*; ``status`` is its exit status."""
        self.status, out, said = self.run(
            "salt-call", f"--config-dir={self.etc}", "--local", "--out=json", f"--id={vm}", *words
        )
        assert out, said
        return json.loads(out)["local"]

    def management_vm(self, folder: Path, vm: str) -> None:
        """Put into *folder* what the management VM of *vm* gets: ``srv`` and ``etc``, as qubesctl makes them.

        What Salt has written there before is kept: making its thin package anew takes seconds.
        """
        root, cached = folder / "root", folder / "root/var/cache/salt/master/extmods"
        for old in (folder / "srv", folder / "etc", cached):
            shutil.rmtree(old, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        pillar = self.call("pillar.items", vm=vm)
        subprocess.run(
            [*_unshare(), 'mount --bind "$0" /srv && cp -rL /srv "$1"', str(self.root / "srv"), str(folder)], check=True
        )
        master = pillar.pop("master")
        for removed in [path for roots in master["pillar_roots"].values() for path in roots]:
            shutil.rmtree(f"{folder}{removed}", ignore_errors=True)
        (folder / "srv/pillar").mkdir(parents=True)
        (folder / "srv/pillar/combined.sls").write_text(yaml.safe_dump(pillar))
        (folder / "srv/pillar/top.sls").write_text(yaml.safe_dump({"base": {vm: ["combined"]}}))
        modules = Path(master["extension_modules"])
        if modules.exists():
            shutil.copytree(modules, cached)
        (folder / "etc").mkdir()
        config = {"file_roots": master["file_roots"], "verify_env": False, "root_dir": str(root)}
        # qrexec, by which Qubes gets into the VM, asks for no key.
        config["ssh_priv"] = "agent-forwarding"
        (folder / "etc/master").write_text(yaml.safe_dump(config))
        (folder / "etc/roster").write_text(yaml.safe_dump({vm: {"host": vm}}))
