"""The directive ``sequence``, whose content is drawn as a diagram: see :mod:`website.diagram`."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from website.diagram import WrongLine, parse, svg


class Sequence(SphinxDirective):  # type: ignore[misc]  # Sphinx is not there where types are checked
    """``{sequence}``: see the module."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the diagram."""
        try:
            picture = svg(parse("\n".join(self.content)))
        except WrongLine as error:
            raise self.error(str(error)) from None
        return [nodes.raw("", picture, format="html")]


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("sequence", Sequence)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
