"""Build the site: ``python -m website FOLDER`` writes the sources to FOLDER/source and the site to FOLDER/html.

Every warning is an error: a link that leads nowhere, a heading out of order, a docstring that cannot be read. So is
a question of :mod:`website.questions` that the site does not answer.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from website import questions
from website.stage import ROOT, stage


def main(arguments: list[str]) -> int:
    """Build the site; return 0, 1 where something is wrong with the pages, 2 for a wrong call."""
    if len(arguments) != 1 or not arguments[0]:
        print("usage: python -m website FOLDER", file=sys.stderr)
        return 2
    from sphinx.cmd.build import build_main

    folder = Path(arguments[0])
    # Former pages must not answer a link that leads nowhere now.
    shutil.rmtree(folder, ignore_errors=True)
    stage(folder / "source")
    where = [str(folder / "source"), str(folder / "html"), "-d", str(folder / "doctrees"), "-c", str(ROOT / "website")]
    if build_main(["-q", "-W", "--keep-going", "-n", "-b", "html", *where]):
        return 1
    unanswered = list(questions.errors(folder / "html"))
    for error in unanswered:
        print(f"website: {error}", file=sys.stderr)
    print(f"the site is in {folder / 'html'}/index.html")
    return 1 if unanswered else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
