"""The line: who is served when, what is said to those who wait, and who may not join."""

import threading
import time

import pytest

from dsta.common import UserError
from dsta.page import line as module
from dsta.page.line import Line
from dsta.page.uploads import Stopped


def until(true):
    deadline = time.monotonic() + 30
    while not true() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert true()


class Desk:
    """A line of visitors whose work takes until it is let go."""

    def __init__(self, workers):
        self.line, self.go_on = Line([object() for _ in range(workers)]), threading.Event()
        self.workers, self.served, self.threads, self.visitors = workers, [], set(), []

    def work(self, name):
        def work(finder):
            self.threads.add(threading.get_ident())
            self.served.append(name)
            assert self.go_on.wait(30)
            yield name
            yield name

        return work

    def visit(self, name, who="", waiting=lambda words, share: None):
        visitor = threading.Thread(target=lambda: list(self.line.serve(who, self.work(name), waiting)))
        visitor.start()
        self.visitors.append(visitor)
        count = len(self.visitors)
        until(lambda: len(self.served) >= min(count, self.workers))
        until(lambda: len(self.line._waiting) + len(self.served) >= count)

    def end(self):
        self.go_on.set()
        for visitor in self.visitors:
            visitor.join(30)


@pytest.fixture
def desk():
    desks = []

    def made(workers):
        desks.append(Desk(workers))
        return desks[0]

    yield made
    desks[0].end()


@pytest.mark.parametrize("workers", [1, 2])
def test_first_come_first_served_by_the_same_threads(desk, workers):
    one = desk(workers)
    for name in range(6):
        one.visit(name)
    assert one.served == list(range(workers))
    one.end()
    assert sorted(one.served) == list(range(6)) and one.served[:4] == sorted(one.served[:4])
    assert len(one.threads) == workers and len(one.line._idle) == workers


def test_who_waits_is_told_the_place_and_the_time(desk, monkeypatch):
    monkeypatch.setattr(module, "_TICK", 0.02)
    monkeypatch.setattr(module, "_USUAL", 10.0)
    one, told = desk(1), {}
    one.visit("a")
    for name in ("b", "c", "d"):
        one.visit(name, waiting=lambda words, share, name=name: told.__setitem__(name, (words, share)))
    until(lambda: len(told) == 3)
    assert {name: words for name, (words, _) in told.items()} == {
        "b": "You are next; about 10 s", "c": "You are second; about 20 s", "d": "You are third; about 30 s"
    }  # fmt: skip
    assert all(0 < share < 0.8 for _, share in told.values())
    assert module._words(12, 130.0) == "You are number 13; about 2 minutes"


def test_who_leaves_makes_room(desk, monkeypatch):
    monkeypatch.setattr(module, "_TICK", 0.02)
    one = desk(1)
    one.visit("a")

    def leave(words, share):
        raise Stopped

    with pytest.raises(Stopped):
        list(one.line.serve("", one.work("b"), leave))
    assert not one.line._waiting
    one.visit("c")
    one.end()
    assert one.served == ["a", "c"]


def test_a_full_line_and_one_address_that_fills_it_are_refused(desk):
    one = desk(1)
    one.visit("first")
    for number in range(module.MOST_OF_ONE):
        one.visit(number, who="one")
    with pytest.raises(UserError, match="10 videos from your address are waiting"):
        list(one.line.serve("one", one.work("more"), lambda words, share: None))
    for number in range(10, 20):
        one.visit(number, who=f"other {number}")
    with pytest.raises(UserError, match="Too many people are waiting"):
        list(one.line.serve("you", one.work("more"), lambda words, share: None))


def test_what_is_said_is_heard_before_the_work_is_done_and_what_it_raises_after_that(desk):
    one, heard = desk(1), threading.Event()

    def fails(finder):
        yield "first"
        assert heard.wait(30)
        raise UserError("Bad.")

    for _ in range(2):
        heard.clear()
        said = one.line.serve("", fails, lambda words, share: None)
        assert next(said) == "first"
        heard.set()
        with pytest.raises(UserError, match="Bad"):
            next(said)
    one.visit("a")
    assert one.served == ["a"]
