from __future__ import annotations

import os
import signal
import threading

import pytest

from mlgit.interrupts import held_back


def interrupt(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


def test_an_interrupt_comes_after_the_block() -> None:
    done = []

    def work() -> None:
        with held_back():
            interrupt()
            done.append("rest of the block")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["rest of the block"]
    with pytest.raises(KeyboardInterrupt):
        interrupt()  # as before


def test_an_interrupt_takes_the_place_of_an_error_in_the_block() -> None:
    def work() -> None:
        with held_back():
            interrupt()
            raise ZeroDivisionError

    with pytest.raises(KeyboardInterrupt) as caught:
        work()
    assert isinstance(caught.value.__context__, ZeroDivisionError)


def test_blocks_may_stand_in_blocks() -> None:
    done = []

    def work() -> None:
        with held_back():
            with held_back():
                interrupt()
                done.append("inner")
            done.append("outer")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["inner", "outer"]


def test_without_an_interrupt_nothing_happens() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with held_back():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with held_back():
            interrupt(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_are_left_alone() -> None:
    reached = []

    def work() -> None:
        with held_back():
            reached.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert reached == [True]
