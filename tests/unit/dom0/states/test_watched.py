"""A state that watches another runs again with its own arguments, without the words that Salt adds."""

from vminterface.dom0.states.watched import once_more


def test_a_state_gets_those_arguments_that_it_knows():
    def state(name, vm=None, replace=False):
        return {"name": name, "given": (vm, replace)}

    given = {"vm": "work", "__reqs__": {}, "__id__": "id", "order": 1, "sfun": "state"}
    assert once_more(state, "/srv/notes", given) == {"name": "/srv/notes", "given": ("work", False)}
