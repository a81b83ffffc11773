"""The turns of the calls that libpcsclite does not keep apart."""

import os
import threading

from cardd.readers.handles import Turns
from cardd.readers.names import Context


def test_a_context_is_released_at_once_when_nobody_has_the_turn() -> None:
    released: list[Context] = []
    Turns().release(Context(1), released.append)
    assert released == [1]


def test_a_release_does_not_wait_for_the_turn_and_is_done_after_it() -> None:
    turns, released = Turns(), list[Context]()
    with turns.taken():
        turns.release(Context(1), released.append)
        assert released == []
    assert released == [1]


def test_a_turn_that_failed_is_over() -> None:
    turns = Turns()
    for _ in range(2):
        try:
            with turns.taken():
                raise ValueError("the call failed")
        except ValueError:
            continue


def test_turns_never_overlap_and_every_context_is_released_between_them() -> None:
    turns, inside, overlaps = Turns(), threading.Semaphore(1), list[str]()
    released: list[Context] = []

    def alone(what: str) -> None:
        if not inside.acquire(blocking=False):
            overlaps.append(what)
            return
        inside.release()

    def release(context: Context) -> None:
        alone("release")
        released.append(context)

    def work(first: int) -> None:
        for number in range(first, first + 200):
            with turns.taken():
                if not inside.acquire(blocking=False):
                    overlaps.append("turn")
                    continue
                os.sched_yield()
                inside.release()
            turns.release(Context(number), release)

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert overlaps == []
    assert len(set(released)) == 600
