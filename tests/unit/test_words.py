"""One word for one concept, and plain words: retired ones are in no name, message, public docstring or page.

Names are those of files, classes, functions and parameters of library, faces and lab. Messages are those that
``tools/messages-page`` collects; docstrings those of public names of the library and the faces.
"""

import ast
import importlib.machinery
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from website import commandline

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("_utils", "_modules", "_states", "_beacons", "_grains", "_pillar", "_output", "_runners", "lab")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

#: Retired words, each with the one to use in its place.
RETIRED = {
    "topic": "field",
    "component": "setting",
    "wanted": "desired",
    "said": "observed, reply, output",
    "told": "desired, notified",
    "difference": "change",
    "answer": "reply; acknowledgement of an agent",
    "lasting": "persistent",
    "kept": "persistent",
    "introduce": "grant",
    "look": "find, inspect; probe in ensure",
    "tell": "notify",
    "say": "notify, log",
    "show": "format, print",
    "fault": "error",
    "row": "key, field",
}
#: Names that have one of these nevertheless, by the file they are in.
ALLOWED = {
    ("_modules/qubes_session.py", "show_in_terminal"): "the VM's user is shown a text: qubes.ShowInTerminal",
    ("_utils/vminterface/dom0/services/terminals.py", "show"): "the VM's user is shown a text: qubes.ShowInTerminal",
    ("_modules/qubes_tools.py", "show_updates"): "the VM's user is shown a window",
    ("_utils/vminterface/dom0/services/tools.py", "show_updates"): "the VM's user is shown a window",
    ("_utils/vminterface/vm/handlers/display/pngdecode.py", "row"): "rows of pixels, as in the format",
    (
        "_utils/vminterface/vm/handlers/display/pngdecode.py",
        "rows",
    ): "rows of pixels, as in the format",
    (
        "_utils/vminterface/vm/handlers/display/pngdecode.py",
        "_rows",
    ): "rows of pixels, as in the format",
    ("lab/xenstored/process.py", "introduce"): "XS_INTRODUCE: Xen's own name of registering a domain",
    ("lab/xenstored/store.py", "_introduce"): "XS_INTRODUCE: Xen's own name of registering a domain",
    ("lab/qubesd/system.py", "Faults"): "faults that tests inject",
    ("lab/qubesd/daemon.py", "faults"): "faults that tests inject",
}


def retired(name: str) -> list[str]:
    """Return the retired words in *name*, in the plural and the third person too."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]
    return [one for one in RETIRED if {one, f"{one}s"} & {*words}]


def names(file: str, text: str) -> Iterator[str]:
    """Yield the names in the Python *text*: of *file* itself, classes, functions, methods, and parameters of these."""
    yield Path(file).stem
    pending: list[ast.stmt] = ast.parse(text).body
    for node in pending:
        if isinstance(node, ast.ClassDef):
            yield node.name
            pending += node.body
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
            a = node.args
            yield from (one.arg for one in (*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg) if one)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id  # of a dataclass it is a parameter too
        elif isinstance(node, ast.If | ast.Try):
            pending += [*node.body, *node.orelse]


def found(file: str, text: str) -> set[tuple[str, str]]:
    return {(file, name) for name in names(file, text) if retired(name)}


def test_no_name_has_a_retired_word() -> None:
    bad = {one for path in FILES for one in found(str(path.relative_to(ROOT)), path.read_text())}
    assert [
        f"{file}: {name} (expected {', '.join(RETIRED[word] for word in retired(name))})"
        for file, name in sorted(bad - {*ALLOWED})
    ] == []
    assert {*ALLOWED} - bad == set()


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("class Answer: pass", ["Answer"]),
        ("def parse_answers(): pass", ["parse_answers"]),
        ("class A:\n    async def tells(self, wanted=0): pass", ["tells", "wanted"]),
        ("def f(*told, **shows): pass", ["told", "shows"]),
        ("try:\n    def look(): pass\nexcept ImportError: pass", ["look"]),
        ("class A:\n    kept: bool = False", ["kept"]),
        ("class Default: pass\ndef arrow(shown, throw): pass", []),
    ],
)
def test_a_retired_word_is_found_in_every_kind_of_name(text: str, bad: list[str]) -> None:
    assert found("file.py", text) == {("file.py", name) for name in bad}


def test_a_file_has_a_name_too() -> None:
    assert found("lab/XFault.py", "") == {("lab/XFault.py", "XFault")}


#: Words that a person should not have to read, each with what to write in its place.
RIDDLES = {
    r"tells?|told|telling": "set, send, notify, report, return",
    r"says?|said": 'return, report, name; "has", "is"',
    r"look(?:s|ed|ing)?": "check, read, probe, search",
    r"found|wanted": "read, detected; desired",
    r"things?": "the noun itself",
    r"befalls?|befell": "an error of",
    r"(?:come|comes|came) of": "the result of",
    r"(?<!there )(?:is|are|was|were) no(?! longer| more than)": "is not a valid, is not, does not exist",
    r"none any more": "no longer",
}
RIDDLE = re.compile(rf"\b(?:{'|'.join(RIDDLES)})\b", re.IGNORECASE)
#: Names of parameters.
FOREIGN = ("*found*", "*thing*")
SOURCES = ("_utils", "_modules", "_states", "_beacons", "_grains", "_pillar", "_output", "_runners")


def riddles(text: str) -> list[str]:
    """Return the words in *text* that are retired."""
    for one in FOREIGN:
        text = text.replace(one, "")
    return [found.lower() for found in RIDDLE.findall(text)]


def docstrings(tree: ast.Module) -> Iterator[str]:
    """Yield the docstrings of a module and of its public names."""
    pending: list[ast.AST] = [tree]
    for node in pending:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
            pending += [one for one in node.body if not getattr(one, "name", "_").startswith("_")]


def test_no_docstring_of_a_public_name_has_a_retired_word() -> None:
    bad = [
        f"{path.relative_to(ROOT)}: {found} in: {line.strip()}"
        for folder in SOURCES
        for path in sorted((ROOT / folder).rglob("*.py"))
        for text in docstrings(ast.parse(path.read_text()))
        for line in text.splitlines()
        if (found := riddles(line))
    ]
    assert bad == []


def test_no_message_has_a_retired_word() -> None:
    loader = importlib.machinery.SourceFileLoader("messages_page", str(ROOT / "tools/messages-page"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    page = importlib.util.module_from_spec(spec)
    loader.exec_module(page)
    messages = page.Inventory().messages
    assert len(messages) > 1000
    assert [f"{one.file}: {found} in: {one.text}" for one in messages if (found := riddles(one.text))] == []


#: Pages that are made of what other tests hold.
GENERATED = ("docs/messages.md", "docs/coverage.md")


def test_no_page_has_a_retired_word() -> None:
    pages = [path for path in sorted((ROOT / "docs").rglob("*.md")) if str(path.relative_to(ROOT)) not in GENERATED]
    assert len(pages) > 20
    assert [
        f"{path.relative_to(ROOT)}: {found} in: {line[:100]}"
        for path in (*pages, ROOT / "tools/messages.md")
        for line in prose(path.read_text())
        if (found := riddles(line))
    ] == []


#: Other files that admins and contributors read: all of a page, and the comments and descriptions of the rest.
READ = (
    "*.md", "changelog.d/*.md", ".github/**/*.md", "pillar/**/*.sls", "formulas/vminterface/*.example",
    "formulas/vminterface/*.yaml", "formulas/vminterface/*.top", "formulas/vminterface/files/*", "debian/control",
    "rpm_spec/*.in", ".github/**/*.yml",
)  # fmt: skip


def test_no_file_that_people_read_has_a_retired_word() -> None:
    files = sorted({path for pattern in READ for path in ROOT.glob(pattern) if path.is_file()})
    assert len(files) > 25
    assert [
        f"{path.relative_to(ROOT)}: {found} in: {line.strip()[:100]}"
        for path in files
        for line in (prose(path.read_text()) if path.suffix == ".md" else path.read_text().splitlines())
        if (found := riddles(line))
    ] == []


def test_no_help_of_the_command_and_no_description_of_a_field_has_a_retired_word() -> None:
    texts = commandline.page() + (ROOT / "pillar/vminterface.schema.json").read_text()
    assert [f"{found} in: {line.strip()[:100]}" for line in texts.splitlines() if (found := riddles(line))] == []


def prose(page: str) -> Iterator[str]:
    """Yield the lines of a page, without what it quotes: blocks, and text in backquotes."""
    fenced = False
    for line in page.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            yield re.sub(r"`[^`]*`", "", line)


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("'x' is no zone", ["is no"]),
        ("What came of it, as nobody told", ["came of", "told"]),
        ("a file that is none any more", ["none any more"]),
        ("It is no longer there, and saying nothing is nothing", []),
        ("Return *found* as plain data", []),
    ],
)
def test_a_retired_word_is_noticed_in_a_sentence(text: str, bad: list[str]) -> None:
    assert riddles(text) == bad
