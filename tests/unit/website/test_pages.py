"""The pages that are made of tables have every row of these, and every page has its place on the site."""

import re
from pathlib import Path

import pytest

from vminterface import keys
from vminterface.cli.main import command_line
from vminterface.dom0.desired.fields import FIELDS
from vminterface.dom0.desired.persistent import PERSISTENT_FIELDS
from vminterface.dom0.desired.settings import OPTIONS
from website import commandline, fields, functions, keytable, stage
from website.markdown import table

ROOT = Path(__file__).resolve().parents[3]
INDEX = (ROOT / "docs/index.md").read_text(encoding="utf-8")
TREES = re.findall(r"```{toctree}\n(.*?)```", INDEX, re.DOTALL)
LISTED = [line for tree in TREES for line in tree.splitlines() if line and not line.startswith(":")]
MADE = {"reference/fields", "reference/keys", "reference/command-line", "reference/salt/index"}
TOP = {name.removesuffix(".md") for name in stage.TOP.values()}


def test_every_field_of_the_pillar_is_on_its_page() -> None:
    page = fields.page()
    for name in (*FIELDS, *PERSISTENT_FIELDS, *OPTIONS):
        assert f"| `{name}` |" in page
    assert "| `network:ip` | yes |" in page


def test_a_field_says_its_words_its_keys_and_where_qubesd_keeps_it() -> None:
    lines = fields.page().splitlines()
    [debug] = [line for line in lines if line.startswith("| `debug`")]
    assert debug.endswith("| `on`, `off`, `default` | `qubes-debug-mode` | property debug |")
    [channel] = [line for line in lines if line.startswith("| `channel`")]
    assert channel.endswith("| `auto`, `xenstore`, `qubesdb` |")


def test_every_key_is_on_its_page() -> None:
    page = keytable.page()
    assert all(f"`{key.name}`" in page and f"`{key.field}`" in page for key in keys.TABLE)


def test_every_command_is_on_its_page_with_those_below_it() -> None:
    page = commandline.page()
    names = [name for name, _ in commandline.commands(command_line())]
    assert {"push", "diff", "agent"} <= {*names}
    assert [name for name in names if f"\n## vminterface {name}\n" not in page] == []


def test_every_module_of_salt_has_its_page() -> None:
    pages = functions.pages()
    assert ".. automodule:: _states.qubes_vm\n" in pages["reference/salt/states-qubes_vm.rst"]
    found = [path for folder in functions.KINDS for path in (ROOT / folder).glob("[!_]*.py")]
    assert len(pages) == len(found) + 1


def test_every_page_has_one_place_in_the_navigation() -> None:
    pages = {str(path.relative_to(ROOT / "docs").with_suffix("")) for path in (ROOT / "docs").rglob("*.md")} - {"index"}
    assert sorted(LISTED) == sorted(pages | MADE | TOP)


@pytest.mark.parametrize(
    ("link", "moved"),
    [
        ("[a](docs/lab.md)", "[a](lab.md)"),
        ("[a](docs/lab.md#b)", "[a](lab.md#b)"),
        ("[a](CHANGELOG.md)", "[a](changelog.md)"),
        ("[a](SECURITY.md)", "[a](security.md)"),
        ("[a](https://example.org/docs/x.md)", "[a](https://example.org/docs/x.md)"),
    ],
)
def test_links_of_pages_at_the_top_lead_to_the_sites_own(link: str, moved: str) -> None:
    assert stage.moved(link) == moved


def test_what_would_end_a_cell_is_escaped() -> None:
    assert table(("a", "b"), [("x|y", "two\nlines")]).splitlines()[2] == "| x\\|y | two lines |"
