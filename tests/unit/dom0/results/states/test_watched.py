"""A state that watches another runs again with its own arguments, without the words that Salt adds."""

from __future__ import annotations

from typing import Any

from vminterface.dom0.results.states.watched import once_more


def test_a_state_gets_those_arguments_that_it_knows() -> None:
    def state(name: Any, vm: Any = None, replace: Any = False) -> Any:
        return {"name": name, "given": (vm, replace)}

    given = {"vm": "work", "__reqs__": {}, "__id__": "id", "order": 1, "sfun": "state"}
    assert once_more(state, "/srv/notes", given) == {"name": "/srv/notes", "given": ("work", False)}
