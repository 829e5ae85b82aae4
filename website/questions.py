"""What an admin asks, and where the site has the answer: in two clicks, and by the words that one would search for.

The first click is a page of the navigation, which is on every page; the second a heading of that page. ``make docs``
holds the built site against this list.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Question:
    """*text* is answered under *heading* of *page*, where *answer* stands; *search* are words that find that page."""

    text: str
    page: str
    heading: str
    answer: str
    search: str


QUESTIONS = (
    Question(
        "What would a push change, before it changes anything?",
        "how-to/preview",
        "Before a highstate: test mode",
        "test=True",
        "push change",
    ),
    Question(
        "A VM has refused a setting. Why?",
        "how-to/refused",
        "Read the reason",
        "its agent cannot apply the value",
        "refused setting",
    ),
    Question(
        "Are the settings still there when the VM starts again?",
        "how-to/keep",
        "Everywhere: the watcher pushes again",
        "vminterface.watch",
        "settings restart",
    ),
    Question(
        "How does the agent get into a template of Qubes OS?",
        "how-to/agent",
        "In a template of Qubes OS",
        "qubesctl --skip-dom0",
        "install agent template",
    ),
    Question(
        "How do I give a VM two monitors?",
        "how-to/monitors",
        "Two monitors of your own",
        "monitors:",
        "monitors",
    ),
    Question(
        "How do I let a VM reach one server only?",
        "how-to/firewall",
        "Allow one server only",
        "policy: drop",
        "firewall",
    ),
    Question(
        "How do I run a command in a VM?",
        "how-to/commands-and-files",
        "Run a command",
        "qubes_rpc.vm_exec",
        "run command",
    ),
    Question(
        "How do I remove all of it?",
        "upgrade-and-remove",
        "Remove",
        "vminterface.absent",
        "remove",
    ),
    Question(
        "Which releases of Qubes OS, Salt and Python does it support?",
        "platforms",
        "Releases, Python and Salt",
        "3.11 or later",
        "releases salt",
    ),
    Question(
        "What can a hostile VM do to dom0?",
        "security",
        "What a VM cannot do",
        "Fill dom0",
        "security",
    ),
    Question(
        "How do I set a VM's time zone?",
        "how-to/settings",
        "Time zone and keyboard",
        "timezone: America/Indiana/Indianapolis",
        "time zone",
    ),
    Question(
        "How do I switch a service of a VM off?",
        "how-to/settings",
        "Switch a service on or off",
        "network-manager: off",
        "switch service",
    ),
    Question(
        "How do I give a running VM another address?",
        "how-to/settings",
        "Change a VM's IP address",
        "reattach: true",
        "address",
    ),
    Question(
        "How do I give a VM more memory?",
        "how-to/settings",
        "Memory, label and other properties",
        "maxmem: 4GiB",
        "memory",
    ),
    Question(
        "What may the owner of a VM refuse?",
        "agent",
        "What the VM's owner accepts",
        "/rw/config/vminterface/agent.conf",
        "owner accepts",
    ),
    Question(
        "How do I push to many hosts, to a few of them first?",
        "fleet",
        "Push to many hosts",
        "canary",
        "push hosts",
    ),
    Question(
        "Who has changed the settings of a VM, and when?",
        "history",
        "The history: what was pushed, and by whom",
        "vminterface history work",
        "history",
    ),
    Question(
        "How does the memory of VMs get into Prometheus?",
        "reports",
        "Prometheus",
        "vminterface.prometheus",
        "prometheus",
    ),
    Question(
        "The host has VMs already. Where does my first pillar come from?",
        "command",
        "Make a pillar of what a host already has: export",
        "vminterface export",
        "make pillar",
    ),
    Question(
        "Where are the logs?",
        "upgrade-and-remove",
        "Where logs are",
        "journalctl -u vminterface-watch",
        "logs",
    ),
)


def errors(site: Path) -> Iterator[str]:
    """Yield one sentence for each question that the built *site* does not answer in two clicks or by its search."""
    start = (site / "index.html").read_text(encoding="utf-8")
    index = read_index(site)
    for question in QUESTIONS:
        where = f"'{question.text}'"
        if not re.search(rf'class="reference internal" href="{question.page}\.html"', start):
            yield f"{where}: the navigation does not lead to {question.page}"
            continue
        text = section((site / f"{question.page}.html").read_text(encoding="utf-8"), question.heading)
        if text is None:
            yield f"{where}: {question.page} has no heading '{question.heading}'"
        elif question.answer not in text:
            yield f"{where}: '{question.heading}' of {question.page} does not have '{question.answer}'"
        if question.page not in (pages := found(index, question.search)):
            yield f"{where}: a search for '{question.search}' finds {', '.join(pages) or 'no page'}"


def section(page: str, heading: str) -> str | None:
    """Return the text below *heading* of the HTML *page*, up to the next one of its level; None where it has none."""
    for one in re.finditer(r"<h([1-6])>(.*?)</h\1>", page, re.DOTALL):
        if plain(re.sub(r'<a class="headerlink".*?</a>', "", one[2])) == heading:
            rest = page[one.end() :]
            following = re.search(rf"<h[1-{one[1]}]>", rest)
            return plain(rest[: following.start()] if following else rest)
    return None


def plain(text: str) -> str:
    """Return HTML as the text that a reader sees."""
    return html.unescape(re.sub(r"<[^>]+>", "", text)).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").strip()


def read_index(site: Path) -> dict[str, Any]:
    """Return the index that the site's search works by."""
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index: dict[str, Any] = json.loads(text.removeprefix("Search.setIndex(").rstrip(");\n"))
    return index


def found(index: dict[str, Any], words: str) -> list[str]:
    """Return the pages that have every one of *words* in a heading, as the site's search would list first."""
    pages = set(range(len(index["docnames"])))
    for word in words.split():
        hits: set[int] = set()
        for stem, documents in index["titleterms"].items():
            # The index holds stems: 'set' is that of 'settings', 'memori' of 'memory'.
            if word.startswith(stem.removesuffix("i")) and len(stem) > 2:
                hits |= {documents} if isinstance(documents, int) else {*documents}
        pages &= hits
    return [index["docnames"][number] for number in sorted(pages)]
