"""Which stream and bone rule an unlabelled checkpoint is of: it is scored under all of them on labelled clips.

    python -m dsta.identify FILE.pt --data data/WLASL2000

The right one stands out, since a network that is fed another stream is near chance. When none does, a second question
is asked: does one stand out once the classes may be in another order (`dsta.metrics.renamed_hits`)?
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dsta.checkpoint import Checkpoint, from_upstream, read_upstream
from dsta.checkpoint.importing import import_command, write_order
from dsta.common import UserError, at_least, exit_code
from dsta.common.device import DeviceSettings, chosen_device
from dsta.data import ClipSet, find_spec, official, read_clip_set
from dsta.data.clips import PickedClips
from dsta.metrics import class_order, log_loss, mcnemar, renamed_hits, wilson
from dsta.model import DSTA
from dsta.score import score
from dsta.streams import BoneRule, Recipe, Stream

CLIPS = 400
OF_A_CLASS = 4  # clips that make a class's place in another order visible
SURE = 0.001  # p below which one way of reading is better than another
STRICT = 3.29  # standard errors above chance, p = 0.0005 one-sided: four or six ways are tried, twice


@dataclass(frozen=True)
class Unlabelled:
    """A network whose stream is in question. glosses: empty where the file does not name its classes."""

    name: str
    model: DSTA
    recipe: Recipe
    glosses: tuple[str, ...] = ()
    estimator: str = ""
    stream: str = ""

    @classmethod
    def read(cls, path: Path) -> "Unlabelled":
        """The network of an upstream file or of one of our weights folders. Raises UserError."""
        if not path.is_dir():
            return cls(str(path), from_upstream(read_upstream(path)[0]), Recipe(), estimator="hrnet-wholebody")
        own = Checkpoint.load(path)
        return cls(str(path), own.model, replace(own.recipe, views=1), own.glosses, own.estimator, own.stream)


@dataclass(frozen=True, eq=False)
class Reading:
    """One way of reading the network, and what it then makes of the N clips.

    bone: the rule, or None for the joint streams, which have no bones. hits, hits_renamed: (N,) bool, which clips are
    right as the classes are, and with them renamed. log_loss: mean, in nats, as the classes are. order: the network's
    class -> the data's class, learned on all clips; only of classes that have clips.
    """

    stream: Stream
    bone: BoneRule | None
    hits: np.ndarray
    hits_renamed: np.ndarray
    log_loss: float
    order: dict[int, int]

    def __str__(self) -> str:
        return f"{self.stream} with {self.bone} bones" if self.bone else self.stream

    def figures(self) -> dict[str, Any]:
        """The shares of right clips, each with its 95 % interval, and the log-loss."""
        found: dict[str, Any] = {"stream": str(self.stream), "bone": self.bone}
        for name, hits in (("top1", self.hits), ("renamed", self.hits_renamed)):
            found |= {name: float(hits.mean()), f"{name}_95": wilson(int(hits.sum()), len(hits))}
        return found | {"log_loss": self.log_loss}


@dataclass(frozen=True)
class Identification:
    """What was found. verdict: `identified`, `undecided`, `permuted` or `unknown`; sentence: the same in words.

    ways: the best first.
    """

    verdict: str
    sentence: str
    ways: list[Reading]
    chance: float

    @property
    def clips(self) -> int:
        """How many clips were scored."""
        return len(self.ways[0].hits)

    @property
    def classes(self) -> dict[int, int]:
        """Of a permuted network, its class -> the data's class."""
        return self.ways[0].order if self.verdict == "permuted" else {}


def ways(recipe: Recipe) -> list[tuple[Stream, BoneRule | None]]:
    """The streams and bone rules that differ under a recipe; shoulder-normalised input has the direct rule alone."""
    rules: tuple[BoneRule, ...] = ("chained", "direct") if recipe.normalise == "nose" else ("direct",)
    return [(stream, rule) for stream in Stream for rule in (rules if stream.is_bone else (None,))]


def labelled(network: Unlabelled, held: ClipSet) -> tuple[np.ndarray, np.ndarray]:
    """(positions, labels) of the clips that the network can be judged on, the labels in its own classes.

    Where both name their classes the names decide; an upstream file's are the benchmark's. Raises UserError when they
    do not fit.
    """
    classes, spec = network.model.config.num_classes, find_spec(held.folder)
    index = {gloss: i for i, gloss in enumerate(network.glosses)}
    if not index and spec and spec.num_classes == classes:
        index = {entry.gloss: entry.label for entry in official(spec.name).values()}
    if index and held.glosses:
        own = np.array([index.get(gloss, -1) for gloss in held.glosses])[held.labels]
        fault = f"knows none of the glosses of {held.folder}" if (own < 0).all() else ""
    else:
        own, expected = held.labels, spec.num_classes if spec else int(held.labels.max()) + 1
        fits = expected == classes if spec else expected <= classes
        fault = "" if fits else f"tells {classes} classes apart, but {held.folder} has {expected}"
    if fault:
        raise UserError(f"{network.name} {fault}: give the data it was made for.")
    return np.flatnonzero(own >= 0), own[own >= 0]


def choose_clips(labels: np.ndarray, most: int) -> np.ndarray:
    """Sorted positions of about `most` random clips, the same in every call; 0 is all.

    Each class gives the same share of its clips, but at least OF_A_CLASS if it has them; where that is too much, it is
    of fewer classes.
    """
    if not most or most >= len(labels):
        return np.arange(len(labels))
    rng, share = np.random.default_rng(0), most / len(labels)
    by_class = [rng.permutation(np.flatnonzero(labels == label)) for label in rng.permutation(np.unique(labels))]
    return np.sort(np.concatenate([own[: max(OF_A_CLASS, round(len(own) * share))] for own in by_class])[:most])


def identify(network: Unlabelled, held: ClipSet, clips: int = CLIPS, device: str = "cpu") -> Identification:
    """Scores the network in every way on the same random clips, and says which way stands out. Raises UserError."""
    positions, labels = labelled(network, held)
    if len(np.unique(labels)) < 2:
        raise UserError(f"All clips of {held.folder} are of one gloss, by which nothing is told apart: give several.")
    chosen = choose_clips(labels, clips)
    picked, labels = PickedClips(held.joints, positions[chosen]), labels[chosen]
    model, settings = network.model.to(device).eval(), DeviceSettings(device, batch=32)
    found, readings = ways(network.recipe), []
    with tqdm(total=len(found) * len(labels), unit="clip") as bar:
        for stream, rule in found:
            recipe = replace(network.recipe, bone=rule or network.recipe.bone)
            logits = score(model, picked, stream, recipe, settings, bar.update).logits
            hits = logits.argmax(1) == labels, renamed_hits(logits, labels)
            readings.append(Reading(stream, rule, *hits, log_loss(logits, labels), class_order(logits, labels)))
    chance = max(1 / network.model.config.num_classes, float(np.bincount(labels).max() / len(labels)))
    return _verdict(network, readings, chance)


def _verdict(network: Unlabelled, readings: Sequence[Reading], chance: float) -> Identification:
    """Which way stands out, as the classes are or renamed."""
    n = len(readings[0].hits)
    found = sorted(readings, key=lambda way: (-way.hits.sum(), way.log_loss))
    renamed = sorted(readings, key=lambda way: (-way.hits_renamed.sum(), way.log_loss))
    best, other = found[0], renamed[0]
    equal = [way for way in found if not _better(best.hits, way.hits)]
    # A network for other signs tells these clips apart too, but about as well in every way: the right one stands out.
    usual = max(3 * chance, 1.5 * float(np.median([way.hits_renamed.mean() for way in renamed[1:]])))
    if _better(other.hits_renamed, best.hits) and wilson(other.hits_renamed.sum(), n, STRICT)[0] > usual:
        verdict, found = "permuted", renamed
        tied = [way for way in renamed if not _better(other.hits_renamed, way.hits_renamed)]
        sentence = (
            f"It is {' or '.join(map(str, tied))}, its classes in another order than this data's: "
            f"{other.hits.mean():.1%} right as they are, but {other.hits_renamed.mean():.1%} once an order learned on "
            "half of the clips is applied to the other half."
        )
    elif wilson(best.hits.sum(), n, STRICT)[0] <= chance:
        verdict = "unknown"
        sentence = (
            f"None is above chance ({chance:.1%}): the best, {best}, gets {best.hits.mean():.1%}, and another order of "
            f"the classes brings no more than {other.hits_renamed.mean():.1%}. Usual causes: clips of another keypoint "
            f"estimator than the network's{f' ({network.estimator})' if network.estimator else ''}, coordinates that "
            "are not pixels of a 512 x 512 picture, weights for other signs or without training"
            f"{', or too few clips' if n < 100 else ''}."
        )
    elif len(equal) > 1:
        verdict = "undecided"
        sentence = (
            f"It is {' or '.join(f'{way} ({way.hits.mean():.1%})' for way in equal)}: these clips do not tell them "
            f"apart, though {min(equal, key=lambda way: way.log_loss)} has the lowest log-loss. Use more clips "
            "(--clips)."
        )
    else:
        verdict = "identified"
        sentence = f"It is {best}: {best.hits.mean():.1%} right, where chance is {chance:.1%}"
        if network.stream == best.stream:
            sentence += f", as its configuration says ({network.stream})"
        elif network.stream:
            sentence += f", though its configuration says {network.stream}"
        sentence += "."
    return Identification(verdict, sentence, found, chance)


def _better(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether hits a are more than hits b on the same clips, beyond doubt (McNemar)."""
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return only_a > only_b and mcnemar(only_a, only_b) < SURE


def _table(found: Identification, normalise: str) -> str:
    """The lines that the command line prints."""
    lines = [f"{'stream':13}{'bone rule':10}{'top-1':>8}  {'[95 %]':16}{'log-loss':>8}{'renamed':>10}  [95 %]"]
    for way in found.ways:
        row = way.figures()
        top1, renamed = ("[{:.1%}, {:.1%}]".format(*row[name]) for name in ("top1_95", "renamed_95"))
        left = f"{way.stream:13}{way.bone or '–':10}{row['top1']:8.1%}  {top1:16}"
        lines.append(f"{left}{way.log_loss:8.2f}{row['renamed']:10.1%}  {renamed}")
    rules = "" if normalise == "nose" else " Input normalised by the shoulders has one bone rule, direct."
    count = f"{found.clips} clips; chance {found.chance:.1%}. The bone rule does not matter to the joint streams."
    renamed = "renamed: with an order of the classes learned on the other half of the clips."
    return "\n".join([*lines, f"{count}{rules} {renamed}", found.sentence])


def _next_steps(args: argparse.Namespace, network: Unlabelled, held: ClipSet, found: Identification) -> Iterator[str]:
    """The lines that say how what was found is used."""
    permuted, is_folder = found.verdict == "permuted", Path(args.file).is_dir()
    if permuted:
        where = f"is in {args.order}" if args.order else "is written with --order FILE.json"
        more = "; with --clips 0 it is learned on all clips" if args.clips else ""
        yield f"The order of {len(found.classes)} of {network.model.config.num_classes} classes {where}{more}."
    if permuted and is_folder:  # reordered before, perhaps: an order counts for what it was found of
        yield "An order is applied at import: find that of the file from which this folder was imported."
    elif permuted or (found.verdict == "identified" and not is_folder):
        way, spec, order = found.ways[0], find_spec(held.folder), (args.order or "FILE.json") if permuted else None
        yield f"To import it: {import_command(args.file, spec.name if spec else 'NAME', way.stream, way.bone, order)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0 whatever was found, 2 for a file or data that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m dsta.identify", description=__doc__.splitlines()[0])
    parser.add_argument("file", metavar="FILE", help="an upstream checkpoint, or a weights folder of one stream")
    parser.add_argument("--data", required=True, metavar="DIR", help="labelled clips of the data set it is for")
    parser.add_argument("--split", default="val", help="of upstream's arrays (default %(default)s)")
    parser.add_argument("--clips", type=at_least(0), default=CLIPS, metavar="N", help="0: all (default %(default)s)")
    parser.add_argument("--window", type=int, help="frames the network sees (default: upstream's 120)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--order", metavar="FILE.json", help="where another order of the classes is written, if found")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    args = parser.parse_args(arguments)
    return exit_code(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    device = chosen_device(args.device)
    network = Unlabelled.read(Path(args.file))
    if args.window:
        network = replace(network, recipe=replace(network.recipe, window=args.window))
    held = read_clip_set(args.data, args.split)
    if network.estimator not in ("", held.estimator):
        note = f"Note: the network is for keypoints of {network.estimator}, these are {held.estimator}'s."
        print(note, file=sys.stderr)
    found = identify(network, held, args.clips, device)
    if args.order and found.classes:
        write_order(args.order, found.classes, network.model.config.num_classes)
    elif args.order:
        print(f"Note: no other order of the classes was found; {args.order} was not written.", file=sys.stderr)
    if args.json:
        rows, said = [way.figures() for way in found.ways], {"verdict": found.verdict, "sentence": found.sentence}
        print(json.dumps({"file": args.file, **said, "ways": rows, "clips": found.clips, "chance": found.chance}))
    else:
        print(_table(found, network.recipe.normalise), *_next_steps(args, network, held, found), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
