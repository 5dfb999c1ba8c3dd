"""The line that visitors stand in: first come, first served, by as many workers as the machine has cores for."""

import contextvars
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

from dsta.common import UserError
from dsta.common.machine import cores
from dsta.page.finder import Finder

T = TypeVar("T")

MOST_WAITING = 20
MOST_OF_ONE = 10
"""Places in the line that visitors of one address may hold; a class of pupils may share one."""
_CORES_FOR_TWO = 4  # looking for joints takes two
_USUAL = 8.0  # seconds that a run takes, until it is known
_TICK = 0.25  # seconds between two words to who waits
_ORDINALS = ("next", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


class _Ticket:
    """A place in the line. said: what the work has said so far, each in a tuple; an empty one is its end."""

    def __init__(self, who: str) -> None:
        self.who, self.begun, self.since = who, threading.Event(), time.monotonic()
        self.said: SimpleQueue[tuple[Any, ...]] = SimpleQueue()


class Line:
    """finders: the workers' processes. The work itself is done in as many threads, always the same: what libraries keep
    for each thread does not grow with the visitors."""

    def __init__(self, finders: Sequence[Finder]) -> None:
        self._idle, self._workers = list(finders), len(finders)
        self._pool = ThreadPoolExecutor(len(finders), "worker")
        self._waiting: list[_Ticket] = []
        self._lock = threading.Lock()
        self._usual = _USUAL

    def begin(self) -> None:
        """Starts the processes where they do not run yet, without waiting for them."""
        for finder in self._idle.copy():
            finder.begin()

    def serve(
        self, who: str, work: Callable[[Finder], Iterator[T]], waiting: Callable[[str, float], object]
    ) -> Iterator[T]:
        """Does the work when its turn has come -> what it says, one after the other, as soon as it is said.

        who: the visitor's address. waiting: called four times a second until then, with the visitor's place and about
        how long it will take, and with the share of the waiting that is over; what it raises ends it. Raises UserError
        where the line is full.
        """
        ticket, job = self._take(who, work)
        try:
            while not ticket.begun.wait(_TICK):
                if (place := self._place(ticket)) is not None:
                    seconds = self._usual * (place // self._workers + 1)
                    waited = time.monotonic() - ticket.since
                    waiting(_words(place, seconds), waited / (waited + seconds))
            while said := ticket.said.get():
                yield said[0]
        except BaseException:
            job.cancel()
            self._leave(ticket)
            raise
        job.result()  # raises what the work has raised

    def _take(self, who: str, work: Callable[[Finder], Iterator[T]]) -> tuple[_Ticket, Future[None]]:
        """A place in the line, and the work that waits there: both at once, so that none overtakes another."""
        with self._lock:
            if len(self._waiting) >= MOST_WAITING:
                raise UserError("Too many people are waiting: try again in a few minutes.")
            if sum(ticket.who == who for ticket in self._waiting) >= MOST_OF_ONE:
                raise UserError(f"{MOST_OF_ONE} videos from your address are waiting already: try again in a minute.")
            ticket = _Ticket(who)
            self._waiting.append(ticket)
            return ticket, self._pool.submit(contextvars.copy_context().run, self._do, ticket, work)

    def _leave(self, ticket: _Ticket) -> None:
        with self._lock:
            if ticket in self._waiting:
                self._waiting.remove(ticket)

    def _do(self, ticket: _Ticket, work: Callable[[Finder], Iterator[T]]) -> None:
        self._leave(ticket)
        with self._lock:
            finder = self._idle.pop()
        ticket.begun.set()
        begun = time.monotonic()
        try:
            for said in work(finder):
                ticket.said.put((said,))
        finally:
            with self._lock:
                self._idle.append(finder)
                self._usual += 0.2 * (time.monotonic() - begun - self._usual)
            ticket.said.put(())

    def _place(self, ticket: _Ticket) -> int | None:
        """0 for who is next; None for who has just left the line."""
        with self._lock:
            return self._waiting.index(ticket) if ticket in self._waiting else None


def _words(place: int, seconds: float) -> str:
    ordinal = _ORDINALS[place] if place < len(_ORDINALS) else f"number {place + 1}"
    about = f"{max(5, 5 * round(seconds / 5))} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"
    return f"You are {ordinal}; about {about}"


LINE = Line([Finder() for _ in range(2 if cores() >= _CORES_FOR_TWO else 1)])
"""The page's own."""
