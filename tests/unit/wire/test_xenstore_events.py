"""The events of a XenStore connection: equal where all they say is."""

from __future__ import annotations

from vminterface.wire.xenstore_events import ErrorReply, Request, WatchEvent
from vminterface.wire.xenstore_messages import Op


def test_a_watch_event_has_the_path_and_the_token_of_its_watch() -> None:
    event = WatchEvent("vm/1", "token 7")
    assert (event.path, event.token) == ("vm/1", "token 7")
    assert event != WatchEvent("vm/1", "token 8")
    assert event != WatchEvent("vm/2", "token 7")


def test_a_request_says_nothing_but_its_operation_unless_told_more() -> None:
    assert Request(Op.TRANSACTION_START) == Request(Op.TRANSACTION_START, "", b"", (), 0, 0)


def test_a_refusal_is_outside_of_transactions_unless_it_says_which() -> None:
    assert ErrorReply(3, "ENOENT").transaction == 0
