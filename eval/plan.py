"""Which networks may score which clips: the weights of a benchmark, and the networks of a cross-validation.

A network of the cross-validation may score a fold only when its own configuration says that it never saw it; a fusion
may be called fitted only when it was fitted on clips that are not scored with it.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from dsta.checkpoint import CONFIG_FILE, WEIGHTS_FILE, saw_folds
from dsta.common import UserError, read_json
from dsta.data import ClipSet, DatasetSpec
from dsta.data.benchmarks import spellings
from dsta.metrics import fit_fusion
from dsta.streams import Recipe

Fusion = tuple[dict[str, float], float]
"""Weights of streams, and the temperature."""


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
    """

    folder: Path
    name: str
    stream: str
    config: dict[str, Any]
    fold: int | None = None

    @property
    def sha256(self) -> str:
        return self.config["weights_sha256"]

    @cached_property
    def recipe(self) -> Recipe:
        return Recipe.from_dict(self.config["recipe"])


def read_network(folder: Path, name: str, stream: str, estimator: str, fold: int | None = None) -> Network:
    """The network in a folder, its configuration checked against the stream and the keypoints. Raises Unscored."""
    if not (folder / CONFIG_FILE).exists() or not (folder / WEIGHTS_FILE).exists():
        raise Unscored("no weights", f"{folder} has no {CONFIG_FILE} with {WEIGHTS_FILE}.")
    try:
        config = read_json(folder / CONFIG_FILE)
        found = {key: config[key] for key in ("stream", "estimator", "glosses", "weights_sha256", "model")}
        Recipe.from_dict(config["recipe"])
        config["provenance"].get("datasets")
    except (KeyError, TypeError, AttributeError) as error:
        raise Unscored("mismatch", f"{folder / CONFIG_FILE} is not a configuration of dsta ({error!r}).") from error
    except UserError as error:
        raise Unscored("mismatch", str(error)) from error
    if found["stream"] != stream:
        raise Unscored("mismatch", f"{folder} holds a network of the stream {found['stream']}, not {stream}.")
    if found["estimator"] != estimator:
        raise Unscored(
            "mismatch", f"{folder} was trained on keypoints of {found['estimator']}, but these clips are {estimator}'s."
        )
    return Network(folder, name, stream, config, fold)


def benchmark_network(weights: Path, spec: DatasetSpec, stream: str, held: ClipSet) -> Network:
    """The network `weights/NAME/STREAM` of a benchmark. Raises Unscored."""
    folders = [weights / name / stream for name in spellings(spec.name)]
    folder = next((folder for folder in folders if folder.exists()), folders[0])
    network = read_network(folder, stream, stream, held.estimator)
    if len(network.config["glosses"]) != spec.num_classes:
        reason = (
            f"{folder} tells {len(network.config['glosses'])} classes apart, but {spec.name} has {spec.num_classes}."
        )
        raise Unscored("mismatch", reason)
    _check_glosses(network, held)
    return network


def _check_glosses(network: Network, held: ClipSet) -> None:
    """Raises Unscored when the set's glosses cannot be found among the network's by name."""
    names = network.config["glosses"]
    missing = sorted(set(held.glosses) - set(names))
    if missing:
        which = f"{len(missing)} glosses of the set or of its other networks, such as {missing[0]}"
        raise Unscored("mismatch", f"{network.folder} does not know {which}.")
    if held.glosses and len(set(names)) < len(names):
        raise Unscored("mismatch", f"{network.folder} gives several of its classes the same name.")


def in_classes_of(network: Network, held: ClipSet) -> ClipSet:
    """The clips with all of the network's classes, in its order, in place of the folder's own.

    A folder may name some of a benchmark's glosses only, and accuracy among those alone would not be the benchmark's.
    One that names none counts its classes as the network does.
    """
    if not held.glosses:
        return held
    names = tuple(network.config["glosses"])
    place = np.array([names.index(gloss) for gloss in held.glosses])
    return replace(held, labels=place[held.labels], glosses=names)


def find_run(runs: Path, dataset: str) -> Path:
    """The run below `runs`, or `runs` itself, with the most networks for held-out folds of a set. Raises Unscored."""
    counts = {run: sum(1 for _ in _fold_configs(run, dataset)) for run in (runs, *sorted(runs.glob("*")))}
    best = max(counts, key=lambda run: (counts[run], run.name), default=runs)
    if not counts.get(best):
        command = f"python eval/crossval.py --data data/{dataset} --out {runs}/{dataset}"
        raise Unscored("no weights", f"{runs} has no network for a held-out fold of {dataset} yet: {command}")
    return best


def _fold_configs(run: Path, dataset: str) -> Iterator[Path]:
    for path in run.glob(f"fold*/*/{CONFIG_FILE}"):
        try:
            if dataset in json.loads(path.read_text(encoding="utf-8"))["provenance"]["datasets"]:
                yield path
        except (ValueError, KeyError, TypeError, OSError):  # what is not ours does not count; a chosen run is checked
            continue


def fold_network(run: Path, stream: str, fold: int, held: ClipSet) -> Network:
    """The network that scores a fold, refused unless it never saw the fold. Raises Unscored."""
    folder = run / f"fold{fold}" / stream
    network = read_network(folder, f"fold{fold}/{stream}", stream, held.estimator, fold)
    provenance = network.config["provenance"]
    if held.folder.name not in provenance.get("datasets", ()):
        raise Unscored("mismatch", f"{folder} was not trained for {held.folder.name}.")
    why = saw_folds(folder, provenance, [held.folder.name], [fold])
    if why:
        raise Unscored("mismatch", why)
    _check_glosses(network, held)
    return network


@dataclass(frozen=True)
class InnerFusion:
    """Fusion weights for each fold of a set, fitted on an inner fold that is not the scored one."""

    run: Path
    held: ClipSet

    @cached_property
    def chosen(self) -> dict[str, Any]:
        path = self.run / "chosen.json"
        if not path.exists():
            raise Unscored("no weights", f"{path} is not there: no fusion was fitted on an inner fold.")
        return read_json(path)

    def fit(self, fold: int, streams: Sequence[str]) -> Fusion:
        """Weights and temperature of a combination of streams for a scored fold. Raises Unscored."""
        dataset = self.held.folder.name
        try:
            choice = self.chosen[str(fold)]
            inner, weights, temperature = (
                choice["inner_fold"],
                choice["fusion"][dataset],
                choice["temperature"][dataset],
            )
        except (KeyError, TypeError) as error:
            reason = f"{self.run / 'chosen.json'} has no fusion for fold {fold} of {dataset}."
            raise Unscored("no weights", reason) from error
        if inner is None:
            raise Unscored("no weights", f"{dataset} has too few folds for an inner one, so no fusion was fitted.")
        if inner == fold:
            raise Unscored(
                "mismatch", f"{self.run / 'chosen.json'} fitted the fusion for fold {fold} on that very fold."
            )
        if set(weights) == set(streams):
            return {stream: float(weights[stream]) for stream in streams}, float(temperature)
        judged = {stream: self._judged(stream, fold, inner, choice["epoch"]) for stream in streams}
        clips = judged[streams[0]][1]
        if any(not np.array_equal(others, clips) for _, others in judged.values()):
            raise Unscored("mismatch", f"The streams in {self.run} were judged on different clips of fold {inner}.")
        logits = {stream: scores for stream, (scores, _) in judged.items()}
        return fit_fusion(logits, self.held.labels[clips], self._stands_for(clips, inner))

    def _stands_for(self, clips: np.ndarray, inner: int) -> np.ndarray | None:
        """How many of the fold's clips each judged one stands for, as `eval/crossval.py` counts them."""
        if not self.held.groups:
            return None
        groups = np.array(self.held.groups)
        whole, judged = Counter(groups[self.held.folds == inner].tolist()), Counter(groups[clips].tolist())
        return np.array([whole[group] / judged[group] for group in groups[clips].tolist()])

    def _judged(self, stream: str, fold: int, inner: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Logits within the set's glosses by a network that saw neither fold, and which clips of the inner fold."""
        for config_file in sorted(self.run.glob(f"without*/{stream}/{CONFIG_FILE}")):
            config = read_json(config_file)
            if saw_folds(config_file.parent, config["provenance"], [self.held.folder.name], [fold, inner]):
                continue
            path = config_file.with_name("scores.npz")
            try:
                with np.load(path, allow_pickle=False) as saved:
                    names, logits = saved["names"], saved[f"epoch{epoch}"]
            except (OSError, KeyError, ValueError, EOFError, BadZipFile) as error:
                raise Unscored("no weights", f"{path} has no scores by which to fit a fusion ({error}).") from error
            prefix = f"{self.held.folder.name}/"
            place = {prefix + name: i for i, name in enumerate(self.held.names) if self.held.folds[i] == inner}
            rows = [i for i, name in enumerate(names) if str(name) in place]
            columns = [config["glosses"].index(gloss) for gloss in self.held.glosses]
            if len(rows):
                return logits[np.ix_(rows, columns)], np.array([place[str(names[i])] for i in rows])
        raise Unscored("no weights", f"{self.run} has no scores of {stream} on fold {inner} by which to fit a fusion.")


@dataclass
class Plan:
    """What a data set needs to be scored: its clips, and per stream the networks, each with the clips that it scores.

    held: the clips; of a benchmark, labels and glosses are those of its networks as soon as there is one. failed:
    stream -> why it cannot be scored. run: the cross-validation that the networks are of. warnings: the doctor's
    sentences.
    """

    spec: DatasetSpec
    held: ClipSet
    run: Path | None
    warnings: list[str]
    networks: dict[str, list[Network]] = field(default_factory=dict)
    failed: dict[str, Unscored] = field(default_factory=dict)

    def find(self, stream: str, weights: Path) -> None:
        """Finds and checks the networks of a stream. Raises Unscored."""
        networks = self.networks_of(stream, weights)
        if self.run is None and not self.networks:
            self.held = in_classes_of(networks[0], self.held)
        self.networks[stream] = networks

    def networks_of(self, stream: str, weights: Path) -> list[Network]:
        """The networks of a stream, checked. Raises Unscored."""
        if self.run is None:
            return [benchmark_network(weights, self.spec, stream, self.held)]
        return [fold_network(self.run, stream, int(fold), self.held) for fold in np.unique(self.held.folds)]

    def positions(self, network: Network) -> tuple[int, ...]:
        """The clips that a network scores: all, or those of the fold that it never saw."""
        held = self.held
        return tuple(range(len(held)) if network.fold is None else np.flatnonzero(held.folds == network.fold).tolist())
