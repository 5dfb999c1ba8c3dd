"""What a score means: how often the best answer was right that was as sure, on clips that the networks had not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Certainty:
    """Measured on clips of known signs that the networks had not seen (`eval/certainty.py`).

    starts: the lowest best score of each step, upwards. right: the share of right answers there, which never
    falls. clips: how many there are. known_people: how many of these are by people whom the networks may have seen.
    """

    starts: tuple[float, ...]
    right: tuple[float, ...]
    clips: tuple[int, ...]
    known_people: tuple[int, ...]

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Self:
        """From what `ensemble.json` says. Raises KeyError, TypeError or ValueError for something else."""
        steps: Sequence[Mapping[str, Any]] = said["steps"]
        if not steps:
            raise ValueError("there are no steps of certainty")
        starts, right = (tuple(float(step[name]) for step in steps) for name in ("from", "right"))
        clips, known = (tuple(int(step[name]) for step in steps) for name in ("clips", "known_people"))
        if sorted({*starts}) != [*starts] or not 0 <= starts[0] <= starts[-1] < 1:
            raise ValueError("the steps of certainty do not rise within 0 and 1")
        if sorted(right) != [*right] or not 0 <= right[0] <= right[-1] <= 1:
            raise ValueError("the shares of certainty do not rise within 0 and 1")
        if not all(0 <= some <= every and every > 0 for some, every in zip(known, clips, strict=True)):
            raise ValueError("a number of clips is out of its range")
        return cls(starts, right, clips, known)

    def of(self, score: float) -> dict[str, Any] | None:
        """Of a best score in 0..1: `right`, a share, `clips` and `known_people`, and `meaning`, a sentence; None of one
        lower than any that was measured."""
        step = sum(start <= score for start in self.starts) - 1
        if step < 0:
            return None
        right, clips, known = self.right[step], self.clips[step], self.known_people[step]
        return {"right": right, "clips": clips, "known_people": known, "meaning": _sentence(right, clips, known)}


def _sentence(right: float, clips: int, known: int) -> str:
    number = round(100 * right)
    about = {0: "almost none", 100: "almost all"}.get(number, f"about {number}")
    people = f"; {'most' if 2 * known > clips else 'some'} were by people it may know" if known else ""
    unseen = f"{clips:,} clips of these signs that it had never seen{people}"
    return f"Of 100 answers this sure, {about} were right, on {unseen}."
