"""What `dsta.identify` finds of a network, and how it is said."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Way:
    """One way of reading the network, and how many of the clips it then gets right.

    bone: the rule, or None for the joint streams, which have no bones. top1, renamed: shares of right clips, as the
    classes are and with them renamed; each with its 95 % Wilson interval. log_loss: mean, in nats, as the classes are.
    """

    stream: str
    bone: str | None
    top1: float
    top1_95: tuple[float, float]
    renamed: float
    renamed_95: tuple[float, float]
    log_loss: float

    def __str__(self) -> str:
        return f"{self.stream} with {self.bone} bones" if self.bone else self.stream


@dataclass(frozen=True)
class Finding:
    """What was found. verdict: `identified`, `undecided`, `permuted` or `unknown`; sentence: the same in words.

    ways: the best first. classes: of a permuted network, its class -> the data's class, learned on all clips; only of
    classes that have clips.
    """

    verdict: str
    sentence: str
    ways: tuple[Way, ...]
    clips: int
    chance: float
    classes: dict[int, int]


def identified(best: Way, others: Sequence[Way], chance: float, claimed: str = "") -> str:
    """The sentence of a network whose classes are in the data's order.

    others: ways that the clips do not tell from the best. claimed: the stream that its configuration says.
    """
    if others:
        tied = [best, *others]
        likelier = min(tied, key=lambda way: way.log_loss)
        return (
            f"It is {' or '.join(f'{way} ({way.top1:.1%})' for way in tied)}: these clips do not tell them apart, "
            f"though {likelier} has the lowest log-loss. Use more clips (--clips)."
        )
    agrees = f"as its configuration says ({claimed})" if claimed == best.stream else ""
    word = f", {agrees or f'though its configuration says {claimed}'}" if claimed else ""
    return f"It is {best}: {best.top1:.1%} right, where chance is {chance:.1%}{word}."


def permuted(best: Way, others: Sequence[Way]) -> str:
    """The sentence of a network whose classes are in another order."""
    which = " or ".join(map(str, [best, *others]))
    return (
        f"It is {which}, its classes in another order than this data's: {best.top1:.1%} right as they are, but "
        f"{best.renamed:.1%} once an order learned on half of the clips is applied to the other half."
    )


def unknown(best: Way, renamed: Way, chance: float, clips: int, estimator: str = "") -> str:
    """The sentence of a network that no way of reading makes better than chance. estimator: of its keypoints."""
    return (
        f"None is above chance ({chance:.1%}): the best, {best}, gets {best.top1:.1%}, and another order of the "
        f"classes brings no more than {renamed.renamed:.1%}. Usual causes: clips of another keypoint estimator than "
        f"the network's{f' ({estimator})' if estimator else ''}, coordinates that are not pixels of a "
        f"512 x 512 picture, weights for other signs or without training{', or too few clips' if clips < 100 else ''}."
    )


def as_table(finding: Finding, normalise: str) -> str:
    """The lines that the command line prints."""
    lines = [f"{'stream':13}{'bone rule':10}{'top-1':>8}  {'[95 %]':16}{'log-loss':>8}{'renamed':>10}  [95 %]"]
    for way in finding.ways:
        top1, renamed = ("[{:.1%}, {:.1%}]".format(*interval) for interval in (way.top1_95, way.renamed_95))
        left = f"{way.stream:13}{way.bone or '–':10}{way.top1:8.1%}  {top1:16}"
        lines.append(f"{left}{way.log_loss:8.2f}{way.renamed:10.1%}  {renamed}")
    rules = "" if normalise == "nose" else " Input normalised by the shoulders has one bone rule, direct."
    lines.append(
        f"{finding.clips} clips; chance {finding.chance:.1%}. The bone rule does not matter to the joint "
        f"streams.{rules} renamed: with an order of the classes learned on the other half of the clips."
    )
    return "\n".join([*lines, finding.sentence])


def as_dict(file: str, finding: Finding) -> dict[str, Any]:
    """The object that `--json` prints."""
    values = asdict(finding)
    values.pop("classes")
    return {"file": file, **values}
