"""``qubesctl`` and ``qvm-run`` of a dom0 made by a test: what these commands of Qubes do with Salt and a VM's files.

``qubesctl`` applies in dom0 by ``salt-call``; for ``--targets`` it gives ``salt-ssh`` the files and the pillar of that
VM, as the management VM gets them. ``qvm-run`` runs its command where the VM's home is. Words that neither knows fail.
"""

from __future__ import annotations

import sys
from pathlib import Path

_QUBESCTL = r"""#!/bin/bash
set -euo pipefail
dom0=yes vms=yes target=
while [ $# -gt 0 ]; do
    case $1 in
        --dom0-only) vms=no ;;
        --skip-dom0) dom0=no ;;
        --targets) shift; target=$1 ;;
        --*) echo "qubesctl: $1: not known here" >&2; exit 2 ;;
        *) break ;;
    esac
    shift
done
if [ $dom0 = yes ]; then
    if [ "$1" = top.enable ]; then
        shift
        kind=salt
        for word; do [ "$word" != pillar=true ] || kind=pillar; done
        mkdir -p /srv/$kind/_tops/base
        for top; do
            [ "$top" = pillar=true ] && continue
            for file in /srv/$kind/${top//.//}.top /srv/$kind/${top//.//}/init.top; do
                [ ! -e "$file" ] || ln -sf "$file" "/srv/$kind/_tops/base/$top.top"
            done
            [ -e "/srv/$kind/_tops/base/$top.top" ] || { echo "no top $top" >&2; exit 1; }
        done
    else
        salt-call --local "$@"
    fi
fi
[ $vms = no ] || [ -z "$target" ] && exit
made=$(mktemp -d)
mkdir "$made/pillar"
salt-call --local --id="$target" --out=json pillar.items | PYTHON -c '
import json, sys
pillar = json.load(sys.stdin)["local"]
pillar.pop("master", None)
json.dump(pillar, open(sys.argv[1] + "/pillar/combined.sls", "w"))
json.dump({"base": {"*": ["combined"]}}, open(sys.argv[1] + "/pillar/top.sls", "w"))
config = {"root_dir": sys.argv[1], "file_roots": {"base": ["/srv/salt"]}, "ssh_priv": "agent-forwarding"}
json.dump({**config, "pillar_roots": {"base": [sys.argv[1] + "/pillar"]}}, open(sys.argv[1] + "/master", "w"))
json.dump({sys.argv[2]: {"host": sys.argv[2], "user": "root"}}, open(sys.argv[1] + "/roster", "w"))
' "$made" "$target"
salt-ssh -c "$made" "$target" "$@"
"""
_QVM_RUN = r"""#!/bin/bash
set -euo pipefail
while case ${1:-} in --pass-io | --no-gui) true ;; *) false ;; esac; do shift; done
[ $# = 2 ] && [ -d "HOMES/$1" ] || { echo "qvm-run: no such VM, or no command" >&2; exit 1; }
cd "HOMES/$1" && exec sh -c "$2"
"""


def write(programs: Path, homes: Path) -> None:
    """Put both commands into *programs*; *homes* has a folder for each VM that ``qvm-run`` knows."""
    for name, text in (("qubesctl", _QUBESCTL), ("qvm-run", _QVM_RUN)):
        program = programs / name
        program.write_text(text.replace("PYTHON", sys.executable).replace("HOMES", str(homes)))
        program.chmod(0o755)
