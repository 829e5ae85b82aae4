"""A minion's pillar as it is now: the two that Salt has of it, and when it has to be compiled anew. Imports no Salt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vminterface.errors import VMInterfaceError


class PillarUnavailable(VMInterfaceError):
    """The master did not compile the minion's pillar."""


def fresh(
    get_pillar: Callable[..., Any],
    lost: type[Exception],
    *,
    opts: Mapping[str, Any],
    context: Mapping[str, Any],
    pillar: Any,
    source: str,
) -> dict[str, Any]:
    """Return the pillar of the minion with *opts* as it is now.

    A minion that serves a master keeps in memory what it was when somebody refreshed it last, so it is compiled afresh,
    as ``state.*`` does; ``salt-call`` and a run of states have just done so, and *pillar*, Salt's own ``__pillar__``,
    has it. *get_pillar* is ``salt.pillar.get_pillar``, *lost* what it raises where the master does not reply, *source*
    what the error begins with. Raises PillarUnavailable.
    """
    if opts.get("__cli") == "salt-call" or "fileclient" in context:
        compiled: dict[str, Any] = pillar.value()
        return compiled
    compiler = get_pillar(opts, opts["grains"], opts["id"], opts["saltenv"], pillarenv=opts.get("pillarenv"))
    try:
        compiled = compiler.compile_pillar()
        return compiled
    except lost as error:
        raise PillarUnavailable(f"{source}: the master did not compile it: {error}") from error
    finally:
        getattr(compiler, "destroy", lambda: None)()
