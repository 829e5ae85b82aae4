"""Find the library's packages; all else of the metadata is in ``pyproject.toml``.

Its tables either find packages or map folders to some: here the library is found, Salt's folders are mapped.
"""

import tomllib
from pathlib import Path

from setuptools import find_packages, setup

SETTINGS = tomllib.loads(Path(__file__).with_name("pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]

setup(packages=[*find_packages("_utils"), *filter(None, SETTINGS["package-dir"])])
