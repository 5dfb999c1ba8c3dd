"""Which stream and bone rule an unlabelled checkpoint is of: it is scored under all of them on labelled clips.

    python -m dsta.identify FILE.pt --data data/WLASL2000

The right one stands out, since a network that is fed another stream is near chance. When none does, a second question
is asked: does one stand out once the classes may be in another order? An order is learned on half of the clips, by the
best one-to-one assignment, and judged on the other half.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax
from tqdm import tqdm

from dsta.checkpoint import Checkpoint, from_upstream, read_upstream
from dsta.checkpoint.importing import import_command, write_order
from dsta.common import UserError, exit_code
from dsta.common.device import DeviceSettings, chosen_device
from dsta.data import BENCHMARKS, ClipSet, DatasetSpec, official, read_clip_set
from dsta.data.clips import PickedClips
from dsta.metrics import log_loss, mcnemar, wilson
from dsta.model import DSTA
from dsta.score import score
from dsta.streams import Recipe, Stream


@dataclass(frozen=True)
class Reading:
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
class Identification:
    """What was found. verdict: `identified`, `undecided`, `permuted` or `unknown`; sentence: the same in words.

    ways: the best first. classes: of a permuted network, its class -> the data's class, learned on all clips; only of
    classes that have clips.
    """

    verdict: str
    sentence: str
    ways: tuple[Reading, ...]
    clips: int
    chance: float
    classes: dict[int, int]


def identified_sentence(best: Reading, others: Sequence[Reading], chance: float, claimed: str = "") -> str:
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


def permuted_sentence(best: Reading, others: Sequence[Reading]) -> str:
    """The sentence of a network whose classes are in another order."""
    which = " or ".join(map(str, [best, *others]))
    return (
        f"It is {which}, its classes in another order than this data's: {best.top1:.1%} right as they are, but "
        f"{best.renamed:.1%} once an order learned on half of the clips is applied to the other half."
    )


def unknown_sentence(best: Reading, renamed: Reading, chance: float, clips: int, estimator: str = "") -> str:
    """The sentence of a network that no way of reading makes better than chance. estimator: of its keypoints."""
    return (
        f"None is above chance ({chance:.1%}): the best, {best}, gets {best.top1:.1%}, and another order of the "
        f"classes brings no more than {renamed.renamed:.1%}. Usual causes: clips of another keypoint estimator than "
        f"the network's{f' ({estimator})' if estimator else ''}, coordinates that are not pixels of a "
        f"512 x 512 picture, weights for other signs or without training{', or too few clips' if clips < 100 else ''}."
    )


def as_text_table(finding: Identification, normalise: str) -> str:
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


def as_json_object(file: str, finding: Identification) -> dict[str, Any]:
    """The object that `--json` prints."""
    values = asdict(finding)
    values.pop("classes")
    return {"file": file, **values}


CLIPS = 400
OF_A_CLASS = 4  # clips that make a class's place in another order visible
SURE = 0.001  # p below which one way of reading is better than another
STRICT = 3.29  # standard errors above chance, p = 0.0005 one-sided: six or twelve ways are tried


@dataclass(frozen=True)
class Unlabelled:
    """A network whose stream is in question. glosses: empty where the file does not name its classes."""

    name: str
    model: DSTA
    recipe: Recipe
    glosses: tuple[str, ...] = ()
    estimator: str = ""
    stream: str = ""


def read_unlabelled(path: str | Path) -> Unlabelled:
    """The network of an upstream file or of one of our weights folders. Raises UserError."""
    path = Path(path)
    if path.is_dir():
        own = Checkpoint.load(path)
        return Unlabelled(str(path), own.model, replace(own.recipe, views=1), own.glosses, own.estimator, own.stream)
    return Unlabelled(str(path), from_upstream(read_upstream(path)[0]), Recipe(), estimator="hrnet-wholebody")


def ways(recipe: Recipe) -> list[tuple[Stream, str | None]]:
    """The streams and bone rules that differ under a recipe; shoulder-normalised input has the direct rule alone."""
    rules = ("chained", "direct") if recipe.normalise == "nose" else ("direct",)
    return [(stream, rule) for stream in Stream for rule in (rules if stream.is_bone else (None,))]


def labelled(network: Unlabelled, held: ClipSet) -> tuple[np.ndarray, np.ndarray]:
    """(positions, labels) of the clips that the network can be judged on, the labels in its own classes.

    Where both name their classes the names decide; an upstream file's are the benchmark's. Raises UserError when they
    do not fit.
    """
    classes = network.model.config.num_classes
    spec = _benchmark(held)
    names = network.glosses or (_official_glosses(spec) if spec and spec.num_classes == classes else ())
    if names and held.glosses:
        index = {gloss: i for i, gloss in enumerate(names)}
        own = np.array([index.get(gloss, -1) for gloss in held.glosses])[held.labels]
        if (own < 0).all():
            raise UserError(
                f"{network.name} knows none of the glosses of {held.folder}: give the data it was made for."
            )
        return np.flatnonzero(own >= 0), own[own >= 0]
    if (spec and spec.num_classes != classes) or held.labels.max() >= classes:
        expected = spec.num_classes if spec else int(held.labels.max()) + 1
        raise UserError(
            f"{network.name} tells {classes} classes apart, but {held.folder} has {expected}: give the data it "
            "was made for."
        )
    return np.arange(len(held)), held.labels


def _benchmark(held: ClipSet) -> DatasetSpec | None:
    return BENCHMARKS.get(held.folder.resolve().name.replace("MLASL", "MSASL"))


def _official_glosses(spec: DatasetSpec) -> list[str]:
    names = {entry.label: entry.gloss for entry in official(spec.name).values()}
    return [names[label] for label in sorted(names)]


def choose_clips(labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Sorted positions of about `most` random clips; 0 is all.

    Each class gives the same share of its clips, but at least OF_A_CLASS if it has them; where that is too much, it is
    of fewer classes.
    """
    if not most or most >= len(labels):
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    for label in rng.permutation(np.unique(labels)):
        members = rng.permutation(np.flatnonzero(labels == label))
        share = max(OF_A_CLASS, round(len(members) * most / len(labels)))
        chosen += members[:share].tolist()
        if len(chosen) >= most:
            break
    return np.sort(chosen[:most])


def identify(
    network: Unlabelled,
    held: ClipSet,
    clips: int = CLIPS,
    seed: int = 0,
    device: str = "cpu",
    batch_size: int = 32,
    progress: bool = True,
) -> Identification:
    """Scores the network in every way on the same random clips, and says which way stands out. Raises UserError."""
    positions, labels = labelled(network, held)
    chosen = choose_clips(labels, clips, seed)
    positions, labels = positions[chosen], labels[chosen]
    model = network.model.to(device).eval()
    found = ways(network.recipe)
    direct, renamed, losses, order = [], [], [], []
    picked, settings = PickedClips(held.joints, positions), DeviceSettings(device, batch=batch_size)
    with tqdm(total=len(found) * len(labels), unit="clip", disable=not progress) as bar:
        for stream, rule in found:
            recipe = replace(network.recipe, bone=rule or network.recipe.bone)
            scores = score(model, picked, stream, recipe, settings, bar.update).logits
            direct.append(scores.argmax(1) == labels)
            renamed.append(renamed_hits(scores, labels, seed))
            losses.append(log_loss(scores, labels))
            order.append(assignment(scores, labels))
    n = len(labels)
    scored = [
        Reading(stream, rule, float(d.mean()), wilson(int(d.sum()), n), float(r.mean()), wilson(int(r.sum()), n), loss)
        for (stream, rule), d, r, loss in zip(found, direct, renamed, losses, strict=True)
    ]
    chance = max(1 / network.model.config.num_classes, float(np.bincount(labels).max() / n))
    return _judge(network, scored, np.array(direct), np.array(renamed), order, chance)


def assignment(scores: np.ndarray, labels: np.ndarray) -> dict[int, int]:
    """The one-to-one map from columns of logits (N, K) to labels (N,) that makes the clips most probable in total."""
    classes, index = np.unique(labels, return_inverse=True)
    mass = np.zeros((len(classes), scores.shape[1]))
    np.add.at(mass, index, softmax(scores.astype(np.float64), axis=1))
    rows, columns = linear_sum_assignment(mass, maximize=True)
    return {int(column): int(classes[row]) for row, column in zip(rows, columns, strict=True)}


def renamed_hits(scores: np.ndarray, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """(N,) bool: whether each clip is right when the classes are renamed as the other half of the clips teaches.

    Each class is split between the halves, and each half is judged by the other's order.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    hit = np.zeros(len(labels), bool)
    for learn, test in ((by_class[::2], by_class[1::2]), (by_class[1::2], by_class[::2])):
        if len(learn) and len(test):
            meant = assignment(scores[learn], labels[learn])
            hit[test] = [meant.get(int(p), -1) == y for p, y in zip(scores[test].argmax(1), labels[test], strict=True)]
    return hit


def _judge(
    network: Unlabelled,
    scored: list[Reading],
    direct: np.ndarray,
    renamed: np.ndarray,
    order: list[dict[int, int]],
    chance: float,
) -> Identification:
    """direct, renamed: (ways, N) bool. Finds which way stands out, as the classes are or renamed."""
    n = direct.shape[1]
    best, best_renamed = (
        min(range(len(scored)), key=lambda i: (-hits[i].sum(), scored[i].log_loss)) for hits in (direct, renamed)
    )
    above = wilson(direct[best].sum(), n, STRICT)[0] > chance
    gained = _better(renamed[best_renamed], direct[best])
    # a network for other signs tells these clips apart too, but about as well in every way: the right one stands out
    usual = max(3 * chance, 1.5 * float(np.median(np.delete(renamed.mean(1), best_renamed))))
    far = wilson(renamed[best_renamed].sum(), n, STRICT)[0] > usual
    classes: dict[int, int] = {}
    if above and not (gained and far):
        others = [i for i in range(len(scored)) if i != best and not _better(direct[best], direct[i])]
        verdict = "undecided" if others else "identified"
        sentence = identified_sentence(scored[best], [scored[i] for i in others], chance, network.stream)
    elif gained and far:
        others = [i for i in range(len(scored)) if i != best_renamed and not _better(renamed[best_renamed], renamed[i])]
        verdict, classes = "permuted", order[best_renamed]
        sentence = permuted_sentence(scored[best_renamed], [scored[i] for i in others])
    else:
        verdict = "unknown"
        sentence = unknown_sentence(scored[best], scored[best_renamed], chance, n, network.estimator)
    measure = "renamed" if verdict == "permuted" else "top1"
    best_first = sorted(scored, key=lambda way: (-getattr(way, measure), way.log_loss))
    return Identification(verdict, sentence, tuple(best_first), n, chance, classes)


def _better(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether hits a are more than hits b on the same clips, beyond doubt (McNemar)."""
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return only_a > only_b and mcnemar(only_a, only_b) < SURE


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0 whatever was found, 2 for a file or data that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m dsta.identify", description=__doc__.splitlines()[0])
    parser.add_argument("file", metavar="FILE", help="an upstream checkpoint, or a weights folder of one stream")
    parser.add_argument("--data", required=True, metavar="DIR", help="labelled clips of the data set it is for")
    parser.add_argument("--split", default="val", help="of upstream's arrays (default %(default)s)")
    parser.add_argument("--clips", type=int, default=CLIPS, metavar="N", help="0: all (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of clips")
    parser.add_argument("--window", type=int, help="frames the network sees (default: upstream's 120)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--order", metavar="FILE.json", help="where another order of the classes is written, if found")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    args = parser.parse_args(arguments)
    if args.clips < 0:
        parser.error("--clips must be 0 or more")
    return exit_code(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    device = chosen_device(args.device)
    network = read_unlabelled(args.file)
    if args.window:
        network = replace(network, recipe=replace(network.recipe, window=args.window))
    held = read_clip_set(args.data, args.split)
    if network.estimator and network.estimator != held.estimator:
        print(
            f"Note: the network is for keypoints of {network.estimator}, these are {held.estimator}'s.", file=sys.stderr
        )
    finding = identify(network, held, args.clips, args.seed, device)
    print(
        json.dumps(as_json_object(args.file, finding))
        if args.json
        else as_text_table(finding, network.recipe.normalise)
    )
    if args.order and finding.classes:
        write_order(args.order, finding.classes, network.model.config.num_classes)
    elif args.order:
        print(f"Note: no other order of the classes was found; {args.order} was not written.", file=sys.stderr)
    if not args.json:
        print(*_next_steps(args, network, held, finding), sep="", end="")


def _next_steps(args: argparse.Namespace, network: Unlabelled, held: ClipSet, finding: Identification) -> Iterator[str]:
    """The lines that say how what was found is used."""
    permuted, is_folder = finding.verdict == "permuted", Path(args.file).is_dir()
    if permuted:
        classes = network.model.config.num_classes
        where = f"is in {args.order}" if args.order else "is written with --order FILE.json"
        more = "; with --clips 0 it is learned on all clips" if args.clips else ""
        yield f"The order of {len(finding.classes)} of {classes} classes {where}{more}.\n"
    if permuted and is_folder:  # it may have been reordered before: an order counts for what it was found of
        yield "An order is applied at import: find that of the file from which this folder was imported.\n"
    elif permuted or (finding.verdict == "identified" and not is_folder):
        spec, way, order = _benchmark(held), finding.ways[0], (args.order or "FILE.json") if permuted else None
        name = spec.name if spec else "NAME"
        yield f"To import it: {import_command(args.file, name, way.stream, way.bone, order)}\n"


if __name__ == "__main__":
    sys.exit(main())
