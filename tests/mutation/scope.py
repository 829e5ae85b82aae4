"""Which files are changed, and which tests are to notice: tests mirror the tree."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "_utils" / "vminterface"
#: The parts that every change is tried in.
PARTS = ("values", "wire", "dom0/push")
#: Tests that stand for a part beside the mirrored ones.
KINDS = ("unit", "functional")
#: What holds the schemas that values have beside their parsers.
SCHEMA_TEST = "tests/unit/dom0/desired/test_schema.py::test_the_shipped_file_is_what_the_tables_say"


def modules(names: list[str]) -> list[str]:
    """Return the modules below the library, ``values/port.py``, that *names* mean: a part, a folder or one module.

    None named means all parts. Raises ValueError for a name that is nothing of them.
    """
    found: list[str] = []
    for name in names or PARTS:
        path = LIBRARY / name
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        chosen = [str(file.relative_to(LIBRARY)) for file in files if file.is_file()]
        if not chosen or not all(part_of(module) for module in chosen):
            raise ValueError(f"{name}: no such module (expected one such as values/port.py, below {', '.join(PARTS)})")
        found += [module for module in chosen if module not in found]
    return found


def part_of(module: str) -> str | None:
    """Return the part that *module* is in."""
    return next((part for part in PARTS if module.startswith(part + "/")), None)


def tests_of(part: str) -> list[Path]:
    """Return the folders with the tests of a part."""
    return [folder for kind in KINDS if (folder := ROOT / "tests" / kind / part).is_dir()]


def mirrored(module: str, kinds: tuple[str, ...] = KINDS) -> list[Path]:
    """Return the test files that are a module's own: ``test_NAME.py``, and what else begins with ``test_NAME_``.

    Those of ``xenstore`` are its parts' too, such as ``xenstore_messages``.
    """
    path = Path(module)
    words = path.stem.split("_")
    wholes = ["_".join(words[:count]) for count in range(1, len(words))]
    stems = [path.stem, *(name for name in wholes if (LIBRARY / path.with_name(f"{name}.py")).is_file())]
    folders = [ROOT / "tests" / kind / path.parent for kind in kinds]
    forms = [form for stem in stems for form in (f"test_{stem}.py", f"test_{stem}_*.py")]
    return sorted({file for folder in folders for form in forms for file in folder.glob(form)})


def import_name(module: str) -> str:
    """Return the name by which a module is imported: ``vminterface.values.port``."""
    return "vminterface." + module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
