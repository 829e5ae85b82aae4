"""Values as Salt 3008 hands out those of a pillar: in classes that show nothing of what they hold.

Salt's own classes where there are any; a stand-in with the same manners on other releases.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

STARS = "**********"


class _MaskedDict(dict[Any, Any]):
    def __repr__(self) -> str:
        return repr(dict.fromkeys(self, STARS))


class _MaskedList(list[Any]):
    def __repr__(self) -> str:
        return repr([STARS for _ in self])


def _stand_in(value: Any) -> Any:
    if isinstance(value, dict):
        return _MaskedDict({key: _stand_in(held) for key, held in value.items()})
    return _MaskedList(map(_stand_in, value)) if isinstance(value, list) else value


def _salts() -> Callable[[Any], Any]:
    try:
        import salt.utils.secret
    except ImportError:
        return _stand_in
    hide: Callable[[Any], Any] = salt.utils.secret.hide
    return hide


masked = _salts()
