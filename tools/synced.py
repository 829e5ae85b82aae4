"""The library ``vminterface``, which this host has in a folder of its own.

Salt syncs this file alone, as each file that it syncs costs every ``salt-call``. Salt's loader reads it too, under
another name.
"""

import os
import sys
from importlib.util import module_from_spec, spec_from_file_location

LIBRARY = "@LIBRARY@"

if __name__ == "vminterface":
    _folder = f"{LIBRARY}/vminterface"
    _spec = spec_from_file_location(__name__, f"{_folder}/__init__.py", submodule_search_locations=[_folder])
    if _spec is None or _spec.loader is None or not os.path.isfile(f"{_folder}/__init__.py"):
        raise ImportError(
            f"the library vminterface is not in {LIBRARY} on this host (expected an installation there; "
            "for the minions of a master `make install TOPS=no` on the master)"
        )
    # Whoever imports this gets what is here once it has been executed.
    sys.modules[__name__] = module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[__name__])
