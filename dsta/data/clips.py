"""Labelled clips in memory or mapped: `Clip`, `ClipSet`, and sequences of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dsta.common import UserError
from dsta.data.overlap import Fingerprints


@dataclass(frozen=True)
class Clip:
    """One labelled clip: joints (T, 27, 3) float32 in canvas pixels and score, and where it is from.

    Raises UserError, with its name, when it holds NaN: in training nothing would tell which clip it was.
    """

    name: str
    dataset: str
    gloss: str
    source: str
    fold: int
    joints: np.ndarray

    def __post_init__(self) -> None:
        if np.isnan(self.joints).any():
            clip = f"Clip {self.name} of {self.dataset}"
            raise UserError(f"{clip} holds NaN: set joints that were not found to (0, 0, 0).")


@dataclass(frozen=True)
class ClipSet:
    """The labelled clips of a folder that are there to be scored.

    joints: sequence of (T, 27, 3) floating arrays in canvas pixels, read when asked for. labels: (N,) class indices;
    of a skeleton set those of its sorted glosses. glosses: the classes' names, empty where the folder does not say.
    folds: (N,), -1 where there are none. sources: (N,) the signer, or of a skeleton set the source, whose takes are
    alike; empty where unknown. estimator: what the keypoints are from. files: those that define the clips, over
    which their hash goes. splits: (N,) `train`, `val` or `test`; empty where the folder does not say.
    """

    folder: Path
    names: tuple[str, ...]
    labels: np.ndarray
    joints: Sequence[np.ndarray]
    glosses: tuple[str, ...]
    folds: np.ndarray
    sources: tuple[str, ...]
    estimator: str
    files: tuple[Path, ...]
    splits: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """By which the clips are known again elsewhere."""
        glosses = [self.glosses[label] for label in self.labels] if self.glosses else []
        return Fingerprints.of(self.joints, self.names, glosses)

    @property
    def clusters(self) -> tuple[np.ndarray, str]:
        """(N,) whose take each clip is, as far as is known, and in words what that is; empty where nothing is known."""
        for labels, kind in (
            (self.sources, "sources" if (self.folds >= 0).any() else "signers"),
            (self.folds, "folds"),
        ):
            found = np.asarray(labels)
            if len(np.unique(found)) > 1:
                return found, kind
        return np.array([]), ""


class JoinedClips(Sequence[np.ndarray]):
    """Several sequences of clips, one after the other."""

    def __init__(self, parts: Sequence[Sequence[np.ndarray]]) -> None:
        self.places = [(part, i) for part in parts for i in range(len(part))]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, i: Any) -> Any:
        part, at = self.places[int(i)]
        return part[at]


class PickedClips(Sequence[np.ndarray]):
    """Some of the joints of a sequence of clips, in an order."""

    def __init__(self, clips: Sequence[np.ndarray], positions: Sequence[int]) -> None:
        self.clips, self.positions = clips, positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, i: Any) -> Any:
        return self.clips[self.positions[i]]


class SelectedClips(Sequence[Clip]):
    """Some of a folder's clips, each read when asked for."""

    def __init__(self, held: ClipSet, positions: Sequence[int], glosses: Sequence[str]) -> None:
        self.held, self.positions, self.glosses = held, positions, glosses

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, i: Any) -> Any:
        at, held = int(self.positions[i]), self.held
        gloss, source = self.glosses[held.labels[at]], held.sources[at] if held.sources else ""
        return Clip(held.names[at], held.folder.name, gloss, source, int(held.folds[at]), held.joints[at])


def fingerprints(clips: Sequence[Clip]) -> Fingerprints:
    """By which clips are known again elsewhere."""
    if isinstance(clips, SelectedClips):
        return clips.held.fingerprints[clips.positions]
    names, glosses = [clip.name for clip in clips], [clip.gloss for clip in clips]
    return Fingerprints.of((clip.joints for clip in clips), names, glosses)
