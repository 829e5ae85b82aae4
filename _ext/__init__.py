"""Tell Salt's loader where an installed package keeps its modules, states and other Salt-facing folders."""

from importlib.util import find_spec

KINDS = ("modules", "states", "grains", "beacons", "pillar", "runners", "output")


def loader_dirs() -> dict[str, list[str]]:
    """Return the folders of each kind that this installation holds, as the ``salt.loader`` entry point wants them.

    Looked up through the import system rather than beside this file: in an editable install the folders are elsewhere.
    """
    folders: dict[str, list[str]] = {}
    for kind in KINDS:
        spec = find_spec(f"{__name__}.{kind}")
        if spec is not None and spec.submodule_search_locations:
            folders[kind] = [str(location) for location in spec.submodule_search_locations]
    return folders
