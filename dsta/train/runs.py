"""A cross-validation on disk: where its networks lie, what they say of clips that they never saw, what was chosen.

RUN/run.json                data and settings, so that networks of two cross-validations are not mixed
RUN/without01/STREAM/       a network trained without two folds; by its scores on one is chosen for the other
RUN/fold0/STREAM/           a network trained without one fold, which it scores
RUN/all/STREAM/             a network trained on all folds
RUN/chosen.json             for each fold a `Choice`
RUN/…/STREAM/scores.npz     `names` (SET/CLIP) and, for each scored epoch E, `epochE`: logits (clips, glosses)
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from dsta.checkpoint import CONFIG_FILE, saw_folds
from dsta.common import UserError, read_json, replace_file, write_npz
from dsta.data import Clip
from dsta.streams import Stream


class MissingResult(UserError):
    """Something that the cross-validation has not made: a choice, or scores."""


@dataclass(frozen=True)
class Choice:
    """How the networks of a fold are trained and fused.

    epoch: their last one. inner_fold: the fold on which this was chosen; None where nothing was. balance: as
    TrainConfig has it. fusion: set -> stream -> weight. temperature: set -> temperature.
    """

    epoch: int
    inner_fold: int | None = None
    balance: float = 0.0
    fusion: dict[str, dict[str, float]] = field(default_factory=dict)
    temperature: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CrossValidation:
    """The folder of a cross-validation."""

    folder: Path

    @property
    def choices_file(self) -> Path:
        return self.folder / "chosen.json"

    @property
    def files(self) -> list[Path]:
        """What tells this run from others: its data and settings, and what was chosen."""
        return [path for path in (self.choices_file, self.folder / "run.json") if path.exists()]

    def network(self, without: Collection[int], stream: str) -> Path:
        """The folder of the network that was trained without these folds: none, one, or a pair."""
        folds = "".join(map(str, sorted(without)))
        return self.folder / ("all", f"fold{folds}", f"without{folds}")[len(without)] / stream

    def networks(self, without: Collection[int]) -> dict[str, Path]:
        """Stream -> folder of its network."""
        return {str(stream): self.network(without, stream) for stream in Stream}

    def begin(self, made_of: Mapping[str, Any]) -> None:
        """Writes down data and settings. Raises UserError when the folder has networks of others."""
        path = self.folder / "run.json"
        if path.exists() and read_json(path) != made_of:
            what = f"{self.folder} holds a cross-validation of other data or settings"
            raise UserError(f"{what}: give another --out, or delete it.")
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(made_of, indent=1).encode())

    def write_choices(self, choices: Mapping[int, Choice]) -> None:
        """Keeps the choice of each fold."""
        content = {fold: asdict(choice) for fold, choice in choices.items()}
        replace_file(self.choices_file, json.dumps(content, indent=1).encode())

    def choices(self) -> dict[int, Choice]:
        """The choice of each fold. Raises MissingResult, and UserError for a damaged file."""
        path = self.choices_file
        if not path.exists():
            raise MissingResult(f"{path} is not there: no fusion was fitted on an inner fold.")
        saved = read_json(path)
        try:
            return {int(fold): Choice(**choice) for fold, choice in saved.items()}
        except (TypeError, ValueError) as error:
            raise UserError(f"{path} is not what a cross-validation chooses ({error}): restore it.") from error

    def judge(self, dataset: str, fold: int, inner: int, stream: str) -> Path:
        """The network that saw neither fold, by whose scores on `inner` is chosen for `fold`. Raises MissingResult."""
        folder = self.network((fold, inner), stream)
        if saw_folds(folder, _provenance(folder), [dataset], (fold, inner)):
            raise MissingResult(f"{self.folder} has no scores of {stream} on fold {inner} by which to fit a fusion.")
        return folder

    def count_fold_networks(self, dataset: str) -> int:
        """How many networks there are, of any stream, for held-out folds of a set."""
        return sum(dataset in _provenance(folder).get("datasets", ()) for folder in self.folder.glob("fold*/*"))


def _provenance(network: Path) -> dict[str, Any]:
    """Nothing where there is no network of ours."""
    try:
        return dict(read_json(network / CONFIG_FILE)["provenance"])
    except (UserError, KeyError, TypeError, ValueError, OSError):
        return {}


@dataclass(frozen=True)
class NetworkScores:
    """What the network in a folder says of the folds that it never saw, after one epoch or several."""

    network: Path

    @property
    def file(self) -> Path:
        return self.network / "scores.npz"

    def part(self, epoch: int) -> Path:
        """An epoch's scores until all are there, so that an interrupted run goes on."""
        return self.network / f"epoch{epoch}.npy"

    def keep(self, epoch: int, logits: np.ndarray) -> None:
        np.save(self.part(epoch), logits)

    def join(self, names: Sequence[str], epochs: Sequence[int]) -> None:
        """Writes the one file, of the epochs that were kept. names: of the clips, `SET/CLIP`."""
        write_npz(self.file, names=np.array(names), **{f"epoch{epoch}": np.load(self.part(epoch)) for epoch in epochs})
        for epoch in epochs:
            self.part(epoch).unlink()

    def read(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Names (N,) and logits (N, K) after an epoch. Raises MissingResult."""
        try:
            with np.load(self.file, allow_pickle=False) as saved:
                return saved["names"], saved[f"epoch{epoch}"]
        except (OSError, KeyError, ValueError, EOFError, BadZipFile) as error:
            raise MissingResult(f"{self.file} has no scores by which to fit a fusion ({error}).") from error


@dataclass(frozen=True)
class HeldOut:
    """What networks, one of each stream, say of clips of a fold that they never saw, within some glosses.

    names (N,): `SET/CLIP`. labels (N,): indices into glosses. logits: stream -> (N, K). stands_for (N,): how many of
    the fold's clips each one stands for, where only some of a gloss and source were scored.
    """

    names: np.ndarray
    labels: np.ndarray
    logits: dict[str, np.ndarray]
    glosses: list[str]
    stands_for: np.ndarray

    @property
    def sets(self) -> np.ndarray:
        """(N,) the set of each clip."""
        return np.array([name.partition("/")[0] for name in self.names])


def held_out(networks: Mapping[str, Path], epoch: int, clips: Sequence[Clip], fold: int) -> HeldOut:
    """The kept scores of those of the clips that are of the fold, within the glosses of all these clips.

    networks: stream -> folder. Raises MissingResult; UserError when the streams did not score the same clips.
    """
    glosses = sorted({clip.gloss for clip in clips})
    of_fold = {f"{clip.dataset}/{clip.name}": clip for clip in clips if clip.fold == fold}
    logits, names = {}, np.array([], str)
    for i, (stream, folder) in enumerate(networks.items()):
        all_names, all_logits = NetworkScores(folder).read(epoch)
        rows = [row for row, name in enumerate(all_names) if name in of_fold]
        if not rows:
            raise MissingResult(f"{folder} has no scores on fold {fold} by which to fit a fusion.")
        if i and not np.array_equal(all_names[rows], names):
            raise UserError(f"The streams in {folder.parent} were judged on different clips of fold {fold}.")
        names, known = all_names[rows], read_json(folder / CONFIG_FILE)["glosses"]
        logits[stream] = all_logits[rows][:, [known.index(gloss) for gloss in glosses]]
    scored = [of_fold[name] for name in names]
    groups, whole = ([(c.dataset, c.gloss, c.source) for c in each] for each in (scored, of_fold.values()))
    all_of, some_of = Counter(whole), Counter(groups)
    stands_for = np.array([all_of[group] / some_of[group] for group in groups])
    return HeldOut(names, np.array([glosses.index(c.gloss) for c in scored]), logits, glosses, stands_for)
