"""Between two runs of the real ``salt-call``, which empties its ``extmods``, the compiled library stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from vminterface.bytecode import FOLDER

ROOT = Path(__file__).parents[3]


def test_the_library_is_compiled_at_the_first_run_alone(tmp_path: Path) -> None:
    tree, config, pillar = tmp_path / "srv", tmp_path / "etc", tmp_path / "pillar"
    for folder in (tree, config, pillar):
        folder.mkdir()
    for name in ("_modules", "_states", "_utils"):
        (tree / name).symlink_to(ROOT / name)
    states: dict[str, dict[str, list[object]]] = {"monitors": {"qubes_rpc.all_monitors": []}}
    (tree / "monitors.sls").write_text(json.dumps(states))
    (tree / "top.sls").write_text(json.dumps({"base": {"*": ["monitors"]}}))
    (pillar / "top.sls").write_text(json.dumps({"base": {"*": ["vms"]}}))
    (pillar / "vms.sls").write_text(json.dumps({"qubes": {"vms": {}}}))
    settings = {
        "id": "host",
        "file_client": "local",
        "root_dir": str(tmp_path / "run"),
        "file_roots": {"base": [str(tree)]},
        "pillar_roots": {"base": [str(pillar)]},
    }
    (config / "minion").write_text(json.dumps(settings))
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")}
    command = [str(Path(sys.executable).parent / "salt-call"), "-c", str(config), "--local", "--retcode-passthrough"]

    def compiled() -> dict[Path, int]:
        subprocess.run(
            [*command, "state.highstate"],
            env=environment,
            check=True,
            capture_output=True,
            timeout=120,
        )
        [kept] = tmp_path.rglob(FOLDER)
        return {path: path.stat().st_mtime_ns for path in kept.rglob("*.pyc")}

    first = compiled()
    assert [path for path in first if path.match("desired/settings.*.pyc")]
    assert compiled() == first
