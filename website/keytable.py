"""The page of the keys: names, fields, forms and owners, of the one table of keys."""

from __future__ import annotations

from vminterface import keys
from website.markdown import code, table

HEAD = """# Keys in the stores

Made of the table that the library works by (`vminterface.keys.TABLE`). A key has the same name on both channels: in
XenStore below the domain's own path (`/local/domain/5/qubes-timezone`), in QubesDB below `/` (`/qubes-timezone`). A
name that ends in `*` stands for a family of keys. Since which release each key exists and which test covers it is in
[the coverage page](../coverage.md), how the acknowledgements work in [the protocol of the agent](../protocol.md).

*Setting* is what the agent in the VM applies and acknowledges as one; a key without one is only read in the VM. The
column *written by* says whether a push of the pillar writes it, or the toolstack or qubesd.

"""


def page() -> str:
    """Return the page."""
    rows = [
        (
            ", ".join(map(code, (key.name, *key.drift))),
            code(key.field),
            code(key.setting) if key.setting else "",
            "a push" if key.pushed else "the toolstack or qubesd",
            key.condition.value,
        )
        for key in keys.TABLE
    ]
    return HEAD + table(("key", "field", "setting", "written by", "exists"), rows)
