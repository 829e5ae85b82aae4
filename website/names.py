"""Show Salt's functions by the names that Salt gives them: ``qubes_vm.timezone``, not ``_states.qubes_vm.timezone``."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx import addnodes


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("doctree-read", name_functions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def name_functions(app: Any, tree: nodes.document) -> None:
    """Put the module's own name before each function of *tree*."""
    for signature in tree.findall(addnodes.desc_signature):
        module = str(signature.get("module") or "")
        if module.startswith("_") and not signature.get("class"):
            name = module.rpartition(".")[2]
            signature.insert(0, addnodes.desc_addname(f"{name}.", f"{name}."))
