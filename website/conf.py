"""Sphinx's configuration of the site; ``make docs`` stages the sources and runs it."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "_utils")]
sys.dont_write_bytecode = True

project = "VM Interface for Salt"
author = "the project's authors"
release = version = (ROOT / "version").read_text(encoding="utf-8").strip()
copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc", "website.sequence", "website.names"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
# Headings may be linked to as `page.md#heading`, as the pages do for whoever reads them without the site.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

# The modules' docstrings say what is to be known; Salt itself is not needed for that.
autodoc_mock_imports = ["salt", "qubesadmin"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
add_module_names = False

html_theme = "furo"
html_title = f"{project} {version}"
html_static_path: list[str] = []
html_copy_source = False
html_show_sphinx = False
# Some pages show files with templates or shell sessions that no lexer takes in full.
highlight_language = "text"
suppress_warnings = ["misc.highlighting_failure"]
