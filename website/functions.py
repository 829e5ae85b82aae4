"""The pages of Salt's functions and states: one a module, filled from the docstrings by Sphinx's autodoc."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: What Salt calls the modules of each folder.
KINDS = {
    "_states": "state module",
    "_modules": "execution module",
    "_grains": "grains module",
    "_beacons": "beacon",
    "_pillar": "external pillar",
    "_output": "outputter",
    "_runners": "runner",
}

HEAD = """# Salt functions and states

Made of the modules' docstrings, which `salt-call sys.doc qubes_vm` prints too.
"""


def pages() -> dict[str, str]:
    """Return the pages by their paths, and the page that leads to them."""
    found = {}
    for folder, kind in KINDS.items():
        for path in sorted((ROOT / folder).glob("[!_]*.py")):
            title = f"{path.stem} ({kind})"
            module = f"{folder}.{path.stem}"
            found[f"reference/salt/{folder.strip('_')}-{path.stem}.rst"] = "\n".join(
                (title, "=" * len(title), "", f".. automodule:: {module}", "   :members:", "")
            )
    listed = "\n".join(Path(name).stem for name in found)
    found["reference/salt/index.md"] = f"{HEAD}\n```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"
    return found
