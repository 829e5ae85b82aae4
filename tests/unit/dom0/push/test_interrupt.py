"""A signal at any moment of work that must not be cut: what came of it is said, once and whole."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from vminterface.dom0.push import interrupt
from vminterface.errors import ConnectionLost


def end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


@pytest.fixture(autouse=True)
def handled() -> Iterator[None]:
    """SIGTERM raises what the command's own handler does."""
    former = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, former)


def told_to_end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_while_the_result_is_reported_waits_for_the_end_of_that() -> None:
    said: list[str] = []

    def report(result: str) -> None:
        said.append("begun")
        told_to_end()
        said.append(result)

    with pytest.raises(SystemExit) as caught:
        interrupt.run(lambda stop: "done", lambda result: f"summary: {result}", report)
    assert said == ["begun", "done"]
    assert not getattr(caught.value, "__notes__", ())


def test_a_signal_while_the_work_goes_on_gives_its_summary_and_no_report() -> None:
    said: list[str] = []

    def work(stop: Any) -> Any:
        told_to_end()
        assert stop.wait(10)
        return "restored"

    with pytest.raises(SystemExit) as caught:
        interrupt.run(work, lambda result: f"summary: {result}", said.append)
    assert (said, caught.value.code) == ([], 128 + signal.SIGTERM)
    assert caught.value.__notes__ == ["summary: restored"]


def test_ctrl_c_gives_the_summary_too() -> None:
    def work(stop: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(10)
        return "restored"

    with pytest.raises(KeyboardInterrupt, match=r"^summary: restored$"):
        interrupt.run(work, lambda result: f"summary: {result}")


@pytest.mark.parametrize(
    ("code", "text"), [(None, "summary: done"), (0, "summary: done"), ("told to end", "told to end\nsummary: done")]
)
def test_without_a_status_of_its_own_the_program_ends_with_the_summary(code: int | str | None, text: str) -> None:
    def leave(number: int, frame: object) -> None:
        raise SystemExit(code)

    def work(stop: Any) -> Any:
        told_to_end()
        assert stop.wait(10)
        return "done"

    signal.signal(signal.SIGTERM, leave)
    with pytest.raises(SystemExit) as caught:
        interrupt.run(work, lambda result: f"summary: {result}")
    assert caught.value.code == text


def test_what_fails_while_it_restores_is_said_and_the_program_ends() -> None:
    def work(stop: Any) -> Any:
        told_to_end()
        assert stop.wait(10)
        raise ConnectionLost("the store has gone")

    with pytest.raises(SystemExit) as caught:
        interrupt.run(work, str)
    assert caught.value.__notes__ == ["the store has gone"]


def test_an_error_of_the_work_goes_on() -> None:
    def work(stop: object) -> None:
        raise ConnectionLost("the store has gone")

    with pytest.raises(ConnectionLost, match="the store has gone"):
        interrupt.run(work, str)


def test_work_cannot_keep_the_program_from_ending() -> None:
    assert interrupt.run(lambda stop: threading.current_thread().daemon, str)


def test_outside_the_main_thread_the_work_is_called_as_it_is() -> None:
    said: list[object] = []

    def work(stop: threading.Event) -> str:
        said.append((threading.current_thread().name, stop.is_set()))
        return "done"

    def whole() -> None:
        said.append(interrupt.run(work, str, said.append))

    thread = threading.Thread(target=whole, name="other")
    thread.start()
    thread.join(10)
    assert said == [("other", False), "done", "done"]


def test_without_a_signal_the_result_is_reported_and_returned() -> None:
    said: list[str] = []
    assert interrupt.run(lambda stop: "done", str, said.append) == "done"
    assert said == ["done"]
    assert signal.getsignal(signal.SIGTERM) is end


def test_a_signal_that_the_kernel_gives_to_another_thread_ends_the_work() -> None:
    def work(stop: Any) -> Any:
        time.sleep(0.3)  # the main thread waits by now
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        return stop.wait(10)

    with pytest.raises(SystemExit) as caught:
        interrupt.run(work, lambda noticed: f"noticed: {noticed}")
    assert caught.value.__notes__ == ["noticed: True"]
