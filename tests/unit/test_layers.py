"""Five floors, no circles: who may import whom in the library, held against the imports themselves."""

import ast
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[2] / "_utils"

# The ground that every floor may stand on.
ERRORS = "vminterface.errors"
# What each part of the library may import of the library, beside itself.
MAY_IMPORT = {
    "vminterface.values": {ERRORS},
    "vminterface.wire": {ERRORS},
    "vminterface.deadline": {ERRORS},
    "vminterface.keys": {ERRORS, "vminterface.values"},
    # Of the values, only those that say who is called: the names of a VM and of a service. No setting, and no key.
    "vminterface.channel": {
        ERRORS,
        "vminterface.deadline",
        "vminterface.wire",
        "vminterface.values.rpcname",
        "vminterface.values.vmname",
    },
}
MUST_NOT_IMPORT = {
    "vminterface.dom0": {"vminterface.vm", "vminterface.cli"},
    "vminterface.vm": {"vminterface.dom0", "vminterface.cli"},
}
# Programs' own bindings and conveniences: imported inside the function that needs them, or under try.
OPTIONAL = {"PIL", "pyroute2", "qubesadmin", "yaml"}


def module_name(path):
    parts = path.relative_to(LIBRARY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted((LIBRARY / "vminterface").rglob("*.py"))}


def is_within(module, package):
    return module == package or module.startswith(package + ".")


def imports_of(name, path):
    """Return (module, optional) for each import: of the library's modules by their file, of others by their name.

    Imports for the type checker alone count too: what a floor may not know does not belong into its types either.
    """
    found = set()

    def visit(node, optional):
        if isinstance(node, ast.Import):
            found.update((alias.name, optional) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively; the library imports absolutely"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add((submodule if submodule in MODULES else node.module, optional))
        inner = optional or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Try)
        for child in ast.iter_child_nodes(node):
            visit(child, inner)

    visit(ast.parse(path.read_text(encoding="utf-8"), str(path)), False)
    return found - {(name, False), (name, True)}


IMPORTS = {name: imports_of(name, path) for name, path in MODULES.items()}
OWN_IMPORTS = {
    name: {target for target, _ in targets if is_within(target, "vminterface")} for name, targets in IMPORTS.items()
}


def shown(module):
    path = MODULES.get(module)
    return str(path.relative_to(LIBRARY.parent)) if path else module


def breaches_of_floors(imports):
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


def circle(imports):
    """Return the modules of one import circle, in order, or an empty list."""
    done = set()

    def walk(name, way):
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


def test_no_floor_imports_what_it_must_not_know():
    assert not breaches_of_floors(OWN_IMPORTS)


def test_no_module_imports_itself_on_a_detour():
    assert not [shown(name) for name in circle(OWN_IMPORTS)]


def test_the_library_needs_the_standard_library_alone():
    foreign = {
        f"{shown(name)} imports {target}"
        for name, targets in IMPORTS.items()
        for target, optional in targets
        if (root := target.partition(".")[0]) not in sys.stdlib_module_names | {"vminterface", "__future__"}
        and not (optional and root in OPTIONAL)
    }
    assert not foreign


def test_the_package_itself_imports_nothing_but_what_keeps_it_compiled():
    assert OWN_IMPORTS["vminterface"] == {"vminterface.bytecode"}
    assert not OWN_IMPORTS["vminterface.bytecode"]


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
def test_a_breach_is_told_with_both_files(importer, imported):
    (told,) = breaches_of_floors({importer: {imported}})
    assert shown(importer) in told
    assert shown(imported) in told


def test_a_circle_is_told_in_its_order():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}}) == []
