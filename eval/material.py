"""What a weights folder is published from: networks, their scores of clips they never saw, their measured rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dsta.checkpoint import CONFIG_FILE, Checkpoint
from dsta.common import UserError
from dsta.data import Clip, ClipSet, MissingSplit, dataset, read_clip_set
from dsta.data.clips import PickedClips
from dsta.metrics import figures, ranks
from dsta.score import score
from dsta.streams import Stream, fuse
from dsta.train.folds import JUDGED_PER_SOURCE, fold_clips
from dsta.train.runs import CrossValidation, HeldOut, held_out
from dsta.train.sampling import capped
from eval.familiar import Judged
from eval.plan import DatasetPlan, Network, ensemble_networks, fold_network, networks_sha256
from eval.protocols import protocol_clips
from eval.rows import gloss_names
from leaderboard.results import PROTOCOLS, RESULTS_FILE, STREAMS, Row, key, read_rows, streams_name

RowKey = tuple[tuple[str, ...], str]
"""Of a measured row: its key, and the hash of its weights."""


@dataclass(frozen=True)
class Material:
    """held: what the networks say of clips that they never saw, by which they are fused; fitted_on: these, in words;
    known_people: (N,) bool, whether they may have seen the people of each of these clips in others.
    systems: set -> system -> figures. headline: set -> the figures that stand for it. among_all: the same where all
    glosses may be answered. networks: stream -> the folder that is published. beside: what these very networks say of
    the splits of benchmarks on whose training clips they were trained too."""

    held: HeldOut
    fitted_on: str
    known_people: np.ndarray
    systems: dict[str, dict[str, Mapping[str, Any]]]
    headline: dict[str, Mapping[str, Any]]
    networks: dict[str, Path]
    among_all: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    beside: tuple["SplitScores", ...] = ()
    judged: Callable[[], Sequence[Judged]] = tuple


@dataclass(frozen=True)
class SplitScores:
    """What the published networks say of a benchmark's clips under a protocol.

    logits: stream -> (N, K) over the whole vocabulary. labels (N,) in it. own: the columns of the benchmark's glosses.
    fitted: whether the fusion was fitted on these clips, so that equal weights stand for it. known: (N,) bool, whether
    the networks may have seen the people of each clip in others.
    """

    dataset: str
    protocol: str
    names: np.ndarray
    logits: dict[str, np.ndarray]
    labels: np.ndarray
    own: np.ndarray
    sources: np.ndarray
    fitted: bool
    known: np.ndarray

    def figures(self, fusion: Mapping[str, float], temperature: float) -> dict[str, Mapping[str, Any]]:
        """System -> figures: among the benchmark's glosses, and where all may be answered."""
        if self.fitted:
            fusion, temperature = dict.fromkeys(fusion, 1.0), 1.0
        fused, every = fuse(self.logits, fusion) / temperature, next(iter(self.logits.values())).shape[1]
        kind = "fused, equal weights" if self.fitted else "fused"
        found = {kind: self._figures(fused, self.own)}
        found |= {stream: self._figures(self.logits[stream], self.own) for stream in STREAMS}
        return found | {f"{kind}, among all {every} glosses": self._figures(fused, np.arange(every))}

    def _figures(self, scores: np.ndarray, columns: np.ndarray) -> dict[str, Any]:
        place = np.full(scores.shape[1], -1)
        place[columns] = np.arange(len(columns))
        return _clustered_figures(scores[:, columns], place[self.labels], self.sources)


def _rows_by_key(results: Path) -> dict[RowKey, Row]:
    """The rows that were measured."""
    return {(key(r), r["weights_sha256"]): r for r in read_rows(results / RESULTS_FILE) if r["status"] == "ok"}


# ---- a cross-validation ----------------------------------------------------------------------------------------------


def material_of(folder: Path, data: Sequence[Path], results: Path) -> Material:
    """Of a benchmark's networks `folder/STREAM`, or of the folder that `eval/crossval.py` filled. Raises UserError."""
    benchmark = any((folder / stream / CONFIG_FILE).exists() for stream in Stream)
    return (of_benchmark if benchmark else of_crossvalidation)(folder, data, results)


def of_crossvalidation(folder: Path, data: Sequence[Path], results: Path) -> Material:
    """The networks trained on all folds, with the figures of those that were trained without one. Raises UserError."""
    run, clips = CrossValidation(folder), fold_clips(data)
    with_folds = {clip.dataset for clip in clips if clip.fold >= 0}
    measured = measured_rows(run, [place for place in data if place.name in with_folds], results)
    beside = tuple(split for place in data if place.name not in with_folds for split in split_scores(run, clips, place))
    validation = [split for split in beside if split.fitted]
    own = {name: [clip for clip in clips if clip.dataset == name] for name in measured}
    among = {name: figures_among_all(run, clips, name) for name in measured}
    systems: dict[str, dict[str, Mapping[str, Any]]] = {
        name: {**rows, **among[name], **figures_of_folds(run, own[name])} for name, rows in measured.items()
    }
    names = "".join(f" and on the validation clips of {split.dataset}" for split in validation)
    held = pooled_scores(run, clips, validation)
    known = np.concatenate([split.known for split in validation]) if validation else np.zeros(0, bool)
    return Material(
        held,
        f"held-out scores of all folds{names}, the sets weighted equally, over the joint vocabulary",
        np.concatenate([np.zeros(len(held.names) - len(known), bool), known]),  # folds are of whole sources
        systems,
        {name: rows["fused"] for name, rows in measured.items()},
        {str(stream): run.network((), stream) for stream in Stream},
        {name: row for name, wider in among.items() for row in wider.values()},
        beside,
        lambda: [*judged_networks(run, clips, [place for place in data if place.name not in with_folds])],
    )


def judged_networks(run: CrossValidation, clips: Sequence[Clip], benchmarks: Sequence[Path]) -> Iterator[Judged]:
    """The networks of each fold, and those of all folds, with clips that they have not seen. clips: that train some.
    benchmarks: sets without folds, whose validation clips none has seen."""
    folds = sorted({clip.fold for clip in clips} - {-1})
    for fold in folds:
        for name in sorted({clip.dataset for clip in clips if clip.fold == fold}):
            held = [clip for clip in clips if clip.fold == fold and clip.dataset == name]
            unseen = [clip.joints for clip in capped(held, JUDGED_PER_SOURCE, np.random.default_rng(0))]
            yield Judged(run.networks((fold,)), [clip for clip in clips if clip.fold != fold], unseen, name)
    unseen = [joints for place in benchmarks for joints in _validation(place)]
    yield Judged(run.networks(()), clips, unseen, "+".join(place.name for place in benchmarks))


def _validation(folder: Path) -> Sequence[np.ndarray]:
    try:
        return read_clip_set(folder, "val").joints if read_clip_set(folder, "train").splits else []
    except MissingSplit:
        return []


def pooled_scores(run: CrossValidation, clips: Sequence[Clip], validation: Sequence[SplitScores] = ()) -> HeldOut:
    """The kept scores of all folds and those of validation clips, over the joint vocabulary."""
    folds = [held_out(run.networks((fold,)), choice.epoch, clips, fold) for fold, choice in run.choices().items()]
    parts: list[HeldOut | SplitScores] = [*folds, *validation]
    logits = {stream: np.concatenate([part.logits[stream] for part in parts]) for stream in STREAMS}
    names, labels = (np.concatenate([getattr(part, name) for part in parts]) for name in ("names", "labels"))
    return HeldOut(names, labels, logits, folds[0].glosses, np.ones(len(names)))


def split_scores(run: CrossValidation, clips: Sequence[Clip], folder: Path) -> list[SplitScores]:
    """What the networks trained on all folds say of the held-out splits of a set without folds, of whose training
    split they were made; none for a set that has no such splits. Raises UserError where they have seen those clips."""
    if not read_clip_set(folder, "train").splits:
        return []
    held = read_clip_set(folder, "val+test")
    glosses = sorted({clip.gloss for clip in clips})
    networks = ensemble_networks(run.network((), STREAMS[0]).parent, STREAMS, held.estimator)
    plan = DatasetPlan(dataset(folder.resolve().name), held, None, [], {s: [n] for s, n in networks.items()})
    protocols, _ = protocol_clips(plan)
    logits = {}
    for stream, network in networks.items():
        for protocol in protocols:
            plan.check_history(stream, protocol.positions, may_choose=False)
        checkpoint = Checkpoint.load(network.folder)
        columns = [checkpoint.glosses.index(gloss) for gloss in glosses]
        logits[stream] = score(checkpoint.model, held.joints, stream, checkpoint.recipe).logits[:, columns]
    column_of = np.array([glosses.index(gloss) for gloss in held.glosses])
    clusters = held.clusters[0] if held.clusters[1] else np.array([""] * len(held))
    return [
        SplitScores(
            plan.spec.name,
            protocol.name,
            np.array([f"{plan.spec.name}/{held.names[i]}" for i in protocol.positions]),
            {stream: each[protocol.positions] for stream, each in logits.items()},
            column_of[held.labels[protocol.positions]],
            column_of,
            clusters[protocol.positions],
            protocol.name == "val",
            _known_people(held, protocol.positions),
        )
        for protocol in protocols
        if protocol.name in ("test", "val")
    ]


def _known_people(held: ClipSet, positions: np.ndarray) -> np.ndarray:
    """(N,) bool: whether a benchmark's training clips are of the same person, or whose a clip is is not known."""
    try:
        train = read_clip_set(held.folder, "train").sources
    except MissingSplit:
        train = ()
    if not (held.sources and train):
        return np.ones(len(positions), bool)
    return np.isin(np.asarray(held.sources)[positions], [*train, ""])


def measured_rows(run: CrossValidation, data: Sequence[Path], results: Path) -> dict[str, dict[str, Row]]:
    """Set -> system -> the row that was measured with the networks of this run. Raises UserError where one is not."""
    rows = _rows_by_key(results)
    folders = {folder.name: folder for folder in sorted(data, key=lambda folder: folder.name)}
    wanted = {name: _keys_of_systems(run, folder) for name, folder in folders.items()}
    try:
        return {name: {system: rows[row] for system, row in of_set.items()} for name, of_set in wanted.items()}
    except KeyError as error:
        names, places = " ".join(folders), " ".join(map(str, folders.values()))
        raise UserError(
            f"{results / RESULTS_FILE} lacks rows that were measured with the networks in {run.folder}: run python "
            f"eval/run_all.py --datasets {names} --data {places} --runs {run.folder} --out {results} first."
        ) from error


def _keys_of_systems(run: CrossValidation, folder: Path) -> dict[str, RowKey]:
    """System on the card -> key and weights of its row in the results of a set."""
    clips = read_clip_set(folder)
    folds = np.unique(clips.folds).tolist()
    networks = {stream: [fold_network(run, stream, fold, clips) for fold in folds] for stream in STREAMS}
    fitted = "fitted" if any(choice.inner_fold is not None for choice in run.choices().values()) else "equal"

    def row(streams: Sequence[str], fusion: str) -> RowKey:
        sha256 = networks_sha256(network for stream in streams for network in networks[stream])
        return (folder.name, "folds", streams_name(streams), fusion), sha256

    fused = {"fused": row(STREAMS, fitted), "fused, equal weights": row(STREAMS, "equal")}
    return fused | {stream: row([stream], "none") for stream in STREAMS}


def figures_of_folds(run: CrossValidation, clips: Sequence[Clip]) -> dict[str, dict[str, Any]]:
    """System -> figures on each fold of a set, fused as was chosen for it, by the scores that the run kept."""
    found, choices, dataset = {}, run.choices(), clips[0].dataset
    for fold in sorted({clip.fold for clip in clips}):
        held = held_out(run.networks((fold,)), choices[fold].epoch, clips, fold)
        fused = fuse(held.logits, choices[fold].fusion[dataset]) / choices[fold].temperature[dataset]
        found[f"fused, fold {fold}"] = _figures(fused, held.labels, held.names, clips)
    return found


def figures_among_all(run: CrossValidation, clips: Sequence[Clip], dataset: str) -> dict[str, dict[str, Any]]:
    """What a set's clips get where all glosses of the vocabulary may be answered, as the recogniser does, and not the
    set's alone; fused as was chosen for each fold. Nothing where there are no others. clips: of all sets."""
    fused, labels, names, choices = [], [], [], run.choices()
    for fold in sorted({clip.fold for clip in clips if clip.dataset == dataset}):
        held = held_out(run.networks((fold,)), choices[fold].epoch, clips, fold)
        own = held.sets == dataset
        scores = fuse({stream: logits[own] for stream, logits in held.logits.items()}, choices[fold].fusion[dataset])
        fused.append(scores / choices[fold].temperature[dataset])
        labels.append(held.labels[own])
        names.append(held.names[own])
    every = len(held.glosses)
    if every == len({clip.gloss for clip in clips if clip.dataset == dataset}):
        return {}
    whole, right, of = (np.concatenate(parts) for parts in (fused, labels, names))
    return {f"fused, among all {every} glosses": _figures(whole, right, of, clips)}


def _figures(fused: np.ndarray, labels: np.ndarray, names: np.ndarray, clips: Sequence[Clip]) -> dict[str, Any]:
    """Figures of some clips, by their names, with intervals over their sources where several are known."""
    source_of = {f"{clip.dataset}/{clip.name}": clip.source for clip in clips}
    return _clustered_figures(fused, labels, np.array([source_of[name] for name in names]))


def _clustered_figures(fused: np.ndarray, labels: np.ndarray, sources: np.ndarray) -> dict[str, Any]:
    """sources: (N,) whose take each clip is, empty where that is not known."""
    known = len(np.unique(sources)) > 1 and (sources != "").all()
    return figures(fused, labels, ranks(fused, labels), sources if known else None)


# ---- a benchmark -----------------------------------------------------------------------------------------------------


def of_benchmark(folder: Path, data: Sequence[Path], results: Path) -> Material:
    """The networks `folder/STREAM` of a benchmark, with the rows that were measured with them. Raises UserError."""
    if len(data) > 1:
        raise UserError(f"{folder} holds the networks of one benchmark: give one --data folder.")
    plan = DatasetPlan(dataset(data[0].resolve().name), read_clip_set(data[0], "val+test"), None, [])
    for stream in STREAMS:
        plan.add_networks(stream, folder.parent)
    name, networks = plan.spec.name, {stream: networks[0] for stream, networks in plan.networks.items()}
    _, val = protocol_clips(plan)
    if not len(val):
        raise UserError(f"{data[0]} has no validation clips, by which the streams could be fused.")
    glosses = gloss_names(plan)
    logits = {}
    for stream, network in networks.items():
        checkpoint = Checkpoint.load(network.folder)
        if list(checkpoint.glosses) != glosses:
            raise UserError(f"{network.folder} has its glosses in another order than the other streams.")
        some = PickedClips(plan.clips.joints, val.tolist())
        logits[stream] = score(checkpoint.model, some, stream, checkpoint.recipe).logits
    names = np.array([f"{name}/{plan.clips.names[i]}" for i in val])
    held = HeldOut(names, plan.clips.labels[val], logits, glosses, np.ones(len(val)))
    systems = _measured_systems(name, networks, results)
    folders = {stream: network.folder for stream, network in networks.items()}
    return Material(
        held,
        f"the {len(val)} validation clips",
        _known_people(plan.clips, val),
        systems,
        {of: rows["fused"] for of, rows in systems.items()},
        folders,
        judged=lambda: [Judged(folders, fold_clips(data), PickedClips(plan.clips.joints, val.tolist()), name)],
    )


def _measured_systems(
    name: str, networks: Mapping[str, Network], results: Path
) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Set and protocol -> system -> its row. Raises UserError where nothing was measured with these networks."""
    measured = _rows_by_key(results)

    def row(protocol: str, streams: Sequence[str], fusion: str) -> Row | None:
        sha256 = networks_sha256(networks[stream] for stream in streams)
        return measured.get(((name, protocol, streams_name(streams), fusion), sha256))

    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for protocol in PROTOCOLS:
        fused = {fusion: row(protocol, STREAMS, fusion) for fusion in ("fitted", "equal", "published")}
        first = next((fusion for fusion, r in fused.items() if r), None)
        own = {"fused" if fusion == first else f"fused, {fusion} weights": r for fusion, r in fused.items()}
        own |= {stream: row(protocol, [stream], "none") for stream in STREAMS}
        there: dict[str, Mapping[str, Any]] = {system: r for system, r in own.items() if r}
        if first:
            found[f"{name} {protocol}"] = there
    if not found:
        raise UserError(
            f"{results / RESULTS_FILE} has no row that was measured with these networks: run python eval/run_all.py "
            f"--datasets {name} first."
        )
    return found
