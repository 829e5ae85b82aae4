"""Layers, rooms and no circles: what may import what in the library, held against the imports themselves."""

from __future__ import annotations

import ast
import functools
import sys
from pathlib import Path
from typing import Any

import pytest

LIBRARY = Path(__file__).resolve().parents[2] / "_utils"

# The ground that every floor may stand on.
ERRORS = "vminterface.errors"
VALUE = "vminterface.value"
REGEX = "vminterface.regex"
# What each part of the library may import of the library, beside itself.
MAY_IMPORT = {
    VALUE: set(),
    REGEX: set(),
    "vminterface.values": {ERRORS, VALUE, REGEX},
    "vminterface.wire": {ERRORS, VALUE, REGEX},
    "vminterface.runtime": set(),
    "vminterface.stop": set(),
    "vminterface.deadline": {ERRORS, "vminterface.runtime"},
    "vminterface.keys": {ERRORS, VALUE, REGEX, "vminterface.values"},
    # Of the values, only those that say who is called, the names of a VM and of a service, and what a change is. No
    # setting, and no key.
    "vminterface.channel": {
        ERRORS,
        VALUE,
        REGEX,
        "vminterface.deadline",
        "vminterface.runtime",
        "vminterface.wire",
        "vminterface.values.change",
        "vminterface.values.rpcname",
        "vminterface.values.vmname",
    },
}
MUST_NOT_IMPORT = {
    "vminterface.dom0": {"vminterface.vm", "vminterface.cli.main"},
    "vminterface.vm": {"vminterface.dom0", "vminterface.cli.main"},
}
# The rooms of each part, each of which may import those before it; a module of no room may import every room's.
ROOMS = {
    "vminterface.dom0": (
        "desired",
        "inventory",
        "transfer",
        "history",
        "menu",
        "services",
        "ensure",
        "push",
        "export",
        "reports",
        "notices",
        "results",
        "fleet",
    ),
    "vminterface.vm": ("machine", "net", "report", "apply", "handlers", "agent"),
    "vminterface.vm.handlers": ("runtime", "files", "display"),
}
# Rooms beside each other, which do not import each other.
APART = {"vminterface.channel": ("xenstore", "qubesdb", "qrexec")}
# Programs' own bindings and conveniences: imported inside the function that needs them, or under try.
OPTIONAL = {"PIL", "jinja2", "pyroute2", "qubesadmin", "yaml"}


def module_name(path: Any) -> Any:
    parts = path.relative_to(LIBRARY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted((LIBRARY / "vminterface").rglob("*.py"))}
LAB = LIBRARY.parent / "lab"
LAB_MODULES = {
    ".".join(path.relative_to(LAB.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(LAB.rglob("*.py"))
}


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def imports_of(name: str, path: Path, modules: dict[str, Path]) -> set[tuple[str, bool]]:
    """Return (module, optional) for each import: of the library's modules by their file, of others by their name.

    Imports for the type checker alone count too: what a floor may not know does not belong into its types either.
    """
    found: set[tuple[str, bool]] = set()

    def visit(node: ast.AST, optional: bool) -> None:
        if isinstance(node, ast.Import):
            found.update((alias.name, optional) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively; the library imports absolutely"
            for alias in node.names:
                assert node.module is not None
                submodule = f"{node.module}.{alias.name}"
                found.add((submodule if submodule in modules else node.module, optional))
        inner = optional or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Try)
        for child in ast.iter_child_nodes(node):
            visit(child, inner)

    visit(ast.parse(path.read_text(encoding="utf-8"), str(path)), False)
    return found - {(name, False), (name, True)}


# Read by the first test that needs them: every process of a run collects this file, and one of them runs it.
@functools.cache
def all_imports() -> dict[str, set[tuple[str, bool]]]:
    return {name: imports_of(name, path, MODULES) for name, path in MODULES.items()}


@functools.cache
def own_imports() -> dict[str, set[str]]:
    return {
        name: {target for target, _ in targets if is_within(target, "vminterface")}
        for name, targets in all_imports().items()
    }


def shown(module: str) -> str:
    path = MODULES.get(module)
    return str(path.relative_to(LIBRARY.parent)) if path else module


def breaches_of_floors(imports: dict[str, set[str]]) -> list[str]:
    """Return one sentence for each import that crosses floors the wrong way."""
    found = []
    for name, targets in sorted(imports.items()):
        for target in sorted(targets):
            for floor, allowed in MAY_IMPORT.items():
                if is_within(name, floor) and not any(is_within(target, one) for one in {floor, *allowed}):
                    found.append(f"{shown(name)} imports {shown(target)}: {floor} may not")
            for wing, forbidden in MUST_NOT_IMPORT.items():
                if is_within(name, wing) and any(is_within(target, one) for one in forbidden):
                    found.append(f"{shown(name)} imports {shown(target)}: {wing} may not")
    return found


def room_of(part: str, module: str) -> int | None:
    """Return the place of the room that *module* is in among the rooms of *part*, None where it is in none."""
    rooms = ROOMS.get(part) or APART[part]
    return next((i for i, room in enumerate(rooms) if is_within(module, f"{part}.{room}")), None)


def imports_upwards(imports: dict[str, set[str]]) -> list[str]:
    """Return one sentence for each import of a room that comes later, or that stands apart."""
    found = []
    for name, targets in sorted(imports.items()):
        for target in sorted(targets):
            for part in (*ROOMS, *APART):
                here, there = room_of(part, name), room_of(part, target)
                if here is not None and there is not None and (there > here if part in ROOMS else there != here):
                    found.append(f"{shown(name)} imports {shown(target)}: not in this order of rooms")
    return found


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Return the modules of one import circle, in order, or an empty list."""
    done = set()

    def walk(name: Any, way: Any) -> Any:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for target in sorted(imports.get(name, ())):
            found = walk(target, [*way, name])
            if found:
                return found
        done.add(name)
        return []

    return next(filter(None, (walk(name, []) for name in sorted(imports))), [])


def test_no_floor_imports_what_it_must_not_know() -> None:
    assert not breaches_of_floors(own_imports())


def test_no_room_imports_one_that_comes_later() -> None:
    assert not imports_upwards(own_imports())


def test_every_module_of_dom0_and_vm_is_in_a_room() -> None:
    for part in ("vminterface.dom0", "vminterface.vm"):
        rooms = {name.removeprefix(f"{part}.").partition(".")[0] for name in MODULES if name.startswith(f"{part}.")}
        assert rooms == set(ROOMS[part])


def test_what_handlers_have_in_common_imports_no_service() -> None:
    services = {name for name in MODULES if name.startswith("vminterface.vm.handlers.") and name.count(".") == 3}
    services -= {f"vminterface.vm.handlers.{room}" for room in ROOMS["vminterface.vm.handlers"]}
    assert len(services) > 20
    shared = {name: targets & services for name, targets in own_imports().items() if name not in services}
    assert not {name: targets for name, targets in shared.items() if targets}


def test_no_module_imports_itself_on_a_detour() -> None:
    assert not [shown(name) for name in circle(own_imports())]


def test_no_module_of_the_lab_imports_itself_on_a_detour() -> None:
    imports = {
        name: {target for target, _ in imports_of(name, path, LAB_MODULES) if is_within(target, "lab")}
        for name, path in LAB_MODULES.items()
    }
    assert circle(imports) == []


def test_the_library_needs_the_standard_library_alone() -> None:
    foreign = {
        f"{shown(name)} imports {target}"
        for name, targets in all_imports().items()
        for target, optional in targets
        if (root := target.partition(".")[0]) not in sys.stdlib_module_names | {"vminterface", "__future__"}
        and not (optional and root in OPTIONAL)
    }
    assert not foreign


def test_the_package_itself_imports_nothing_but_what_keeps_it_compiled() -> None:
    assert own_imports()["vminterface"] == {"vminterface.bytecode"}
    assert not own_imports()["vminterface.bytecode"]


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("vminterface.values", "vminterface.deadline"),
        ("vminterface.wire", "vminterface.values"),
        ("vminterface.channel", "vminterface.keys"),
        ("vminterface.channel", "vminterface.values"),
        ("vminterface.dom0", "vminterface.vm"),
        ("vminterface.vm.apply", "vminterface.dom0"),
    ],
)
def test_a_breach_is_told_with_both_files(importer: str, imported: str) -> None:
    (told,) = breaches_of_floors({importer: {imported}})
    assert shown(importer) in told
    assert shown(imported) in told


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("vminterface.dom0.ensure.step", "vminterface.dom0.push.outcome"),
        ("vminterface.vm.machine", "vminterface.vm.agent.agent"),
        ("vminterface.vm.handlers.runtime.call", "vminterface.vm.handlers.files"),
        ("vminterface.channel.xenstore", "vminterface.channel.qubesdb.store"),
    ],
)
def test_an_import_of_a_later_room_is_told_with_both_files(importer: str, imported: str) -> None:
    (told,) = imports_upwards({importer: {imported}})
    assert shown(importer) in told
    assert shown(imported) in told


def test_a_circle_is_told_in_its_order() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}}) == []
