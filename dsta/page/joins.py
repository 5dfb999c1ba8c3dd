"""How many events a visitor may have in gradio's queue without fetching what is said of them."""

from collections import OrderedDict

_MOST_UNFETCHED = 20  # of a session; the page never has more than a few
_MOST_SESSIONS = 50  # of an address, with anything unfetched; a class of pupils may share one
_REMEMBERED = 5000  # sessions in all; gradio itself forgets the messages of those beyond 2000


class Joins:
    """Counts events by session and address. gradio keeps the messages of each until they are fetched, a megabyte of an
    answer: who never fetches them must not fill the memory."""

    def __init__(self) -> None:
        self._unfetched: OrderedDict[str, tuple[str, int]] = OrderedDict()  # session -> address, events

    def join(self, who: str, session: str) -> bool:
        """One more event of this address and session; whether it may be."""
        count = self._unfetched.get(session, (who, 0))[1]
        sessions = sum(address == who for address, _ in self._unfetched.values())
        if count >= _MOST_UNFETCHED or (not count and sessions >= _MOST_SESSIONS):
            return False
        self._unfetched[session] = who, count + 1
        while len(self._unfetched) > _REMEMBERED:
            self._unfetched.popitem(last=False)
        return True

    def fetch(self, session: str) -> None:
        """The session fetches its messages."""
        self._unfetched.pop(session, None)
