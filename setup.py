"""Map the tree that Salt syncs (``_modules``, ``_states``, ``_utils`` …) to importable packages.

The library ``_utils/vminterface`` becomes ``vminterface``; each Salt-facing folder that exists becomes
``saltext.vminterface.KIND``, which Salt finds through the ``salt.loader`` entry point of ``_ext``.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
EXTENSION = "saltext.vminterface"
SALT_FOLDERS = {
    "modules": "_modules",
    "states": "_states",
    "grains": "_grains",
    "beacons": "_beacons",
    "pillar": "_pillar",
    "runners": "_runners",
    "output": "_output",
}

folders = {f"{EXTENSION}.{kind}": folder for kind, folder in SALT_FOLDERS.items() if (ROOT / folder).is_dir()}


def version() -> str:
    """Return the version that the library states; it is read, not imported, as nothing is installed yet."""
    text = (ROOT / "_utils/vminterface/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if not found:
        raise SystemExit("setup.py: _utils/vminterface/__init__.py states no __version__")
    return found.group(1)


def requirements(name: str) -> list[str]:
    """Return the requirements in ``requirements/NAME.txt``, without comments and includes."""
    lines = (ROOT / f"requirements/{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-"))]


setup(
    name=EXTENSION,
    version=version(),
    description="Salt states for what a Xen or Qubes dom0 tells its VMs, and what they tell it",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages("_utils", include=["vminterface", "vminterface.*"]), EXTENSION, *folders],
    package_dir={"vminterface": "_utils/vminterface", EXTENSION: "_ext", **folders},
    extras_require={
        "salt": requirements("salt3008"),
        "test": requirements("test"),
        "lint": requirements("lint"),
        "bench": requirements("salt3008"),
    },
    entry_points={
        "console_scripts": ["vminterface = vminterface.cli:main"],
        "salt.loader": [f"{EXTENSION} = {EXTENSION}:loader_dirs"],
    },
    zip_safe=False,
)
