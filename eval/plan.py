"""Which networks may score which clips: the weights of a benchmark, and the networks of a cross-validation.

A network of the cross-validation may score a fold only when its own configuration says that it never saw it; a fusion
may be called fitted only when it was fitted on clips that are not scored with it.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dsta.checkpoint import CONFIG_FILE, WEIGHTS_FILE, Ensemble, Seen, read_seen, saw_folds
from dsta.checkpoint.seen import refusal
from dsta.common import UserError, read_json
from dsta.data import Clip, ClipSet, DatasetSpec
from dsta.data.benchmarks import spellings
from dsta.data.overlap import Fingerprints
from dsta.metrics import fit_fusion
from dsta.streams import Recipe
from dsta.train import SMALL_RECIPE
from dsta.train.config import SMALL_RECIPE_CHOSEN
from dsta.train.runs import CrossValidation, MissingResult, held_out
from leaderboard.results import hash_lines


class Unscored(UserError):
    """Why something could not be scored: the row's status and its sentence, the fusion if it is about one, and the
    hash of the data if that was read."""

    def __init__(self, status: str, reason: str, fusion: str = "", data_sha256: str = "") -> None:
        super().__init__(reason)
        self.status, self.fusion, self.data_sha256 = status, fusion, data_sha256


@dataclass(frozen=True)
class Network:
    """A weights folder of one stream, by its configuration; the tensors are read when it scores.

    name: what the row's hash calls it, the path below the weights or the run. fold: the fold that it scores, or None.
    seen: the clips that it was made from, None where that is not known.
    """

    folder: Path
    name: str
    stream: str
    config: dict[str, Any]
    fold: int | None = None
    seen: Seen | None = None

    @property
    def made_by(self) -> dict[str, Any]:
        """Its provenance."""
        return self.config["provenance"]

    @property
    def sha256(self) -> str:
        return self.config["weights_sha256"]


def _default_selection(network: Network) -> str:
    """On what a network's recipe was chosen that does not say so itself."""
    recipe = Recipe.from_dict(network.config["recipe"])
    return SMALL_RECIPE_CHOSEN if recipe == SMALL_RECIPE else "the reference's" if _is_reference(recipe) else "not said"


def _is_reference(recipe: Recipe) -> bool:
    return recipe in (Recipe(), Recipe(bone="direct"))


def read_network(folder: Path, name: str, stream: str, estimator: str, fold: int | None = None) -> Network:
    """The network in a folder, its configuration checked against the stream and the keypoints. Raises Unscored."""
    if not (folder / CONFIG_FILE).exists() or not (folder / WEIGHTS_FILE).exists():
        raise Unscored("no weights", f"{folder} has no {CONFIG_FILE} with {WEIGHTS_FILE}.")
    try:
        config = read_json(folder / CONFIG_FILE)
        found = {key: config[key] for key in ("stream", "estimator", "glosses", "weights_sha256", "model")}
        Recipe.from_dict(config["recipe"])
        config["provenance"].get("datasets")
        clips_seen = read_seen(folder, config)
    except (KeyError, TypeError, AttributeError) as error:
        raise Unscored("mismatch", f"{folder / CONFIG_FILE} is not a configuration of dsta ({error!r}).") from error
    except UserError as error:
        raise Unscored("mismatch", str(error)) from error
    if found["stream"] != stream:
        raise Unscored("mismatch", f"{folder} holds a network of the stream {found['stream']}, not {stream}.")
    if found["estimator"] != estimator:
        reason = f"{folder} was trained on keypoints of {found['estimator']}, but these clips are {estimator}'s."
        raise Unscored("mismatch", reason)
    return Network(folder, name, stream, config, fold, clips_seen)


def ensemble_networks(weights: Path, streams: Iterable[str], estimator: str) -> dict[str, Network]:
    """The networks of a weights folder, each in the folder of its stream, or the one that it is. Raises Unscored."""
    folders = {stream: weights / stream if (weights / stream).is_dir() else weights for stream in streams}
    return {stream: read_network(folder, stream, stream, estimator) for stream, folder in folders.items()}


def check_unseen(ensemble: Ensemble, weights: Path, clips: Fingerprints) -> None:
    """Raises UserError where a network, or one from which it began, may have been trained on these clips."""
    for stream, checkpoint in ensemble.checkpoints.items():
        folder = weights / stream if (weights / stream).is_dir() else weights
        why = f"{folder} does not say which clips it was trained on."
        if checkpoint.seen:
            why = checkpoint.seen.why_not(clips, str(folder), choosing=True)
        if why:
            raise UserError(f"{why} Train networks that do not know these signs with --without-glosses.")


def networks_sha256(networks: Iterable[Network]) -> str:
    """The column weights_sha256 of what is scored by these networks."""
    each = {network.name: network.sha256 for network in networks}
    return next(iter(each.values())) if len(each) == 1 else hash_lines(each)


def benchmark_network(weights: Path, spec: DatasetSpec, stream: str, clips: ClipSet) -> Network:
    """The network `weights/NAME/STREAM` of a benchmark. Raises Unscored."""
    folders = [weights / name / stream for name in spellings(spec.name)]
    folder = next((folder for folder in folders if folder.exists()), folders[0])
    network = read_network(folder, stream, stream, clips.estimator)
    known = len(network.config["glosses"])
    if known != spec.num_classes:
        raise Unscored("mismatch", f"{folder} tells {known} classes apart, but {spec.name} has {spec.num_classes}.")
    _check_glosses(network, clips)
    return network


def _check_glosses(network: Network, clips: ClipSet) -> None:
    """Raises Unscored when the set's glosses cannot be found among the network's by name."""
    names = network.config["glosses"]
    missing = sorted(set(clips.glosses) - set(names))
    if missing:
        which = f"{len(missing)} glosses of the set or of its other networks, such as {missing[0]}"
        raise Unscored("mismatch", f"{network.folder} does not know {which}.")
    if clips.glosses and len(set(names)) < len(names):
        raise Unscored("mismatch", f"{network.folder} gives several of its classes the same name.")


def in_classes_of(network: Network, clips: ClipSet) -> ClipSet:
    """The clips with all of the network's classes, in its order, in place of the folder's own.

    A folder may name some of a benchmark's glosses only, and accuracy among those alone would not be the benchmark's.
    One that names none counts its classes as the network does.
    """
    if not clips.glosses:
        return clips
    names = tuple(network.config["glosses"])
    label_of = np.array([names.index(gloss) for gloss in clips.glosses])
    return replace(clips, labels=label_of[clips.labels], glosses=names)


def find_run(runs: Sequence[Path], dataset: str) -> CrossValidation:
    """The one run, of these folders or directly below them, with networks for held-out folds of a set.

    Raises Unscored when there is none, or more than one: which of them is meant is not guessed.
    """
    places = dict.fromkeys(place for folder in runs for place in (folder, *sorted(folder.glob("*"))))
    found = [run for run in map(CrossValidation, places) if run.count_fold_networks(dataset)]
    if not found:
        where = ", ".join(map(str, runs))
        command = f"python eval/crossval.py --data data/{dataset} --out {runs[0]}/{dataset}"
        raise Unscored("no weights", f"{where} has no network for a held-out fold of {dataset} yet: {command}")
    if len(found) > 1:
        names = ", ".join(str(run.folder) for run in found)
        raise Unscored("mismatch", f"{len(found)} runs have networks for {dataset}, {names}: name one with --runs.")
    return found[0]


def fold_network(run: CrossValidation, stream: str, fold: int, clips: ClipSet) -> Network:
    """The network that scores a fold, refused unless it never saw the fold. Raises Unscored."""
    folder, dataset = run.network((fold,), stream), clips.folder.name
    network = read_network(folder, folder.relative_to(run.folder).as_posix(), stream, clips.estimator, fold)
    provenance = network.config["provenance"]
    if dataset not in provenance.get("datasets", ()):
        raise Unscored("mismatch", f"{folder} was not trained for {dataset}.")
    why = saw_folds(folder, provenance, [dataset], [fold])
    if why:
        raise Unscored("mismatch", why)
    _check_glosses(network, clips)
    return network


def fit_on_inner_fold(
    run: CrossValidation, clips: Sequence[Clip], fold: int, streams: Sequence[str]
) -> tuple[dict[str, float], float]:
    """Fusion weights and temperature for a scored fold, fitted on another one by networks that saw neither.

    clips: all of the set. Of all streams the weights are those that the cross-validation chose, of some they are fitted
    in the same way. Raises Unscored.
    """
    dataset = clips[0].dataset
    try:
        choice = run.choices().get(fold)
        if choice is None or dataset not in choice.fusion or dataset not in choice.temperature:
            raise MissingResult(f"{run.choices_file} has no fusion for fold {fold} of {dataset}.")
        weights, inner = choice.fusion[dataset], choice.inner_fold
        if inner is None:
            raise MissingResult(f"{dataset} has too few folds for an inner one, so no fusion was fitted.")
        if inner == fold:
            raise UserError(f"{run.choices_file} fitted the fusion for fold {fold} on that very fold.")
        if set(weights) == set(streams):
            return {stream: float(weights[stream]) for stream in streams}, float(choice.temperature[dataset])
        judges = {stream: run.judge(dataset, fold, inner, stream) for stream in streams}
        held = held_out(judges, choice.epoch, clips, inner)
    except MissingResult as error:
        raise Unscored("no weights", str(error), "fitted") from error
    except UserError as error:
        raise Unscored("mismatch", str(error), "fitted") from error
    return fit_fusion(held.logits, held.labels, held.stands_for)


@dataclass
class DatasetPlan:
    """What a data set needs to be scored: its clips, and per stream the networks, each with the clips that it scores.

    clips: of a benchmark, with the labels and glosses of its networks as soon as there is one. run: the
    cross-validation that the networks are of. warnings: the doctor's sentences. failed: stream -> why it cannot be
    scored.
    """

    spec: DatasetSpec
    clips: ClipSet
    run: CrossValidation | None
    warnings: list[str]
    networks: dict[str, list[Network]] = field(default_factory=dict)
    failed: dict[str, Unscored] = field(default_factory=dict)
    _seen: dict[Path, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def add_networks(self, stream: str, weights: Path) -> None:
        """Finds and checks the networks of a stream: `weights` holds those of benchmarks. Raises Unscored."""
        if self.run is not None:
            folds = np.unique(self.clips.folds).tolist()
            self.networks[stream] = [fold_network(self.run, stream, fold, self.clips) for fold in folds]
            return
        network = benchmark_network(weights, self.spec, stream, self.clips)
        if not self.networks:
            self.clips = in_classes_of(network, self.clips)
        self.networks[stream] = [network]

    def positions(self, network: Network) -> tuple[int, ...]:
        """The clips that a network scores: all, or those of the fold that it never saw."""
        if network.fold is None:
            return tuple(range(len(self.clips)))
        return tuple(np.flatnonzero(self.clips.folds == network.fold).tolist())

    def _seen_by(self, network: Network) -> tuple[np.ndarray, np.ndarray]:
        """(N,) bool twice: which of the clips that a network scores it was trained on, and which chose its epoch."""
        if network.folder not in self._seen:
            scored = np.isin(np.arange(len(self.clips)), self.positions(network))
            seen = network.seen or Seen(Fingerprints.none())
            trained, chose = seen.among(self.clips.fingerprints)
            self._seen[network.folder] = trained & scored, chose & scored
        return self._seen[network.folder]

    def check_history(self, stream: str, counted: np.ndarray, may_choose: bool) -> None:
        """Refuses networks of a stream that have seen the clips that they score. Raises Unscored.

        counted: positions of the protocol's clips. may_choose: whether it has clips by which an epoch may be chosen.
        """
        for network in self.networks[stream]:
            scored = np.intersect1d(counted, self.positions(network))
            trained, chose = (seen[scored] for seen in self._seen_by(network))
            why = refusal(str(network.folder), trained, chose & (not may_choose))
            if why:
                raise Unscored("mismatch", why)

    def selection(self, streams: Iterable[str], counted: np.ndarray, fusion: str) -> str:
        """By which clips the networks' epochs and recipe, and their fusion, were chosen. fusion: of that, in words."""
        networks = [network for stream in streams for network in self.networks[stream]]
        # the epoch's number differs from network to network, how it was found does not
        epochs = [re.sub(r"^epoch \d+ of \d+: ", "", each.made_by.get("selection", "not said")) for each in networks]
        recipes = [network.made_by.get("recipe_selection") or _default_selection(network) for network in networks]
        count = np.any([self._seen_by(network)[1] for network in networks], axis=0)[counted].sum()
        among = f" ({count} of the clips scored here chose it)" if count else ""
        epoch, recipe = (" or ".join(dict.fromkeys(said)) for said in (epochs, recipes))
        return f"epoch: {epoch}{among}; recipe: {recipe}; fusion: {fusion}"

    def history_notes(self, streams: Iterable[str], counted: np.ndarray) -> Iterator[str]:
        """What is known of the clips that the networks have seen, where that is not simply: none of these."""
        networks = [network for stream in streams for network in self.networks[stream]]
        if not all(network.seen and network.seen.whole for network in networks):
            yield "Not all networks of this row, or from which they began, say which clips they were trained on."
        count = np.any([self._seen_by(network)[0] for network in networks], axis=0)[counted].sum()
        if count:
            yield f"{count} of the {len(counted)} clips are nearly the same recordings as clips trained on."
