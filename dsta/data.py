"""Datasets on disk, and batches of network input."""

import csv
import hashlib
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dsta.augment import Augmentation, augment
from dsta.errors import UserError
from dsta.labels import read_labels
from dsta.skeleton import CANVAS, NUM_JOINTS
from dsta.streams import Recipe, Stream, prepare, views

UNKNOWN_ASPECT = 4 / 3  # skeleton sets do not say how wide their pictures were
_COLUMNS = ("clip", "gloss", "source", "fold")
_DAMAGED = (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Clip:
    """One labelled clip: joints (T, 27, 3) float32 in canvas pixels and score, and where it is from."""

    name: str
    dataset: str
    gloss: str
    source: str
    fold: int
    joints: np.ndarray


def read_skeletons(folder: str | Path) -> list[Clip]:
    """The clips of a skeleton set: `clips.npz` (name -> (T, 27, 3), fractions of the picture) and `index.csv`.

    Raises UserError when a file is missing or does not fit the other.
    """
    folder = Path(folder)
    rows = _read_index(folder / "index.csv")
    path = folder / "clips.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            missing = [row["clip"] for row in rows if row["clip"] not in arrays]
            if missing:
                raise UserError(f"{path} lacks {len(missing)} of the clips in index.csv, such as {missing[0]}.")
            return [_clip(row, arrays[row["clip"]], folder.name) for row in rows]
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: a skeleton set is a folder with clips.npz and index.csv.") from error
    except UserError:
        raise
    except _DAMAGED as error:
        raise UserError(f"{path} cannot be read ({error}): copy the data set again.") from error


def _read_index(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: a skeleton set is a folder with clips.npz and index.csv.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a table in UTF-8 ({error}): save it as CSV again.") from error
    if not rows or any(row.get(column) is None for row in rows for column in _COLUMNS):
        raise UserError(f"{path} must have rows with the columns {', '.join(_COLUMNS)}.")
    if not all(row["fold"].isdigit() for row in rows):
        raise UserError(f"{path} must have a whole number from 0 in the column fold of every row.")
    return rows


def _clip(row: dict[str, str], fractions: np.ndarray, dataset: str) -> Clip:
    if fractions.ndim != 3 or fractions.shape[1:] != (NUM_JOINTS, 3) or not len(fractions):
        raise UserError(f"Clip {row['clip']} of {dataset} must be (frames, {NUM_JOINTS}, 3), not {fractions.shape}.")
    joints = fractions.astype(np.float32) * np.array([CANVAS, CANVAS / UNKNOWN_ASPECT, 1], np.float32)
    return Clip(row["clip"], dataset, row["gloss"], row["source"], int(row["fold"]), joints)


def capped(clips: Sequence[Clip], most: int, rng: np.random.Generator) -> list[Clip]:
    """At most `most` random clips of each gloss and source, in the order given; clips without a source all stay.

    Takes repeat heavily within a source: more of them teach a network the source, not the sign.
    """
    groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for i, clip in enumerate(clips):
        groups[clip.dataset, clip.gloss, clip.source].append(i)
    kept = []
    for (_, _, source), members in groups.items():
        kept += members if not source else rng.permutation(members)[:most].tolist()
    return [clips[i] for i in sorted(kept)]


def sampling_share(clips: Sequence[Clip], most: int, glosses: Sequence[str]) -> np.ndarray:
    """(K,) share of each gloss in what `capped` leaves, with one clip added to each gloss; sums to 1."""
    counts = Counter(clip.gloss for clip in capped(clips, most, np.random.default_rng(0)))
    share = np.array([counts[gloss] + 1.0 for gloss in glosses])
    return share / share.sum()


def training_batches(
    clips: Sequence[Clip],
    label_of: dict[str, int],
    stream: Stream,
    recipe: Recipe,
    augmentation: Augmentation,
    batch_size: int,
    rng: np.random.Generator,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """One shuffled pass of varied clips: (input (N, C, window, 27) float32, labels (N,)), full batches only."""
    order = rng.permutation(len(clips))
    for start in range(0, len(order) - batch_size + 1, batch_size):
        chosen = [clips[i] for i in order[start : start + batch_size]]
        inputs = [prepare(augment(clip.joints, rng, augmentation), stream, recipe) for clip in chosen]
        yield torch.from_numpy(np.stack(inputs)), torch.tensor([label_of[clip.gloss] for clip in chosen])


@torch.inference_mode()
def logits(
    model: torch.nn.Module,
    clips: Iterable[np.ndarray],
    stream: Stream | str,
    recipe: Recipe,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
) -> np.ndarray:
    """(N, K) float32 logits of clips (T, 27, 3), the mean over the recipe's views."""
    clips = list(clips)
    rows = []
    for start in range(0, len(clips), batch_size):
        batch = clips[start : start + batch_size]
        inputs = np.stack([prepare(view, stream, recipe) for clip in batch for view in views(clip, recipe)])
        scores = model(torch.from_numpy(inputs).to(device)).float().cpu().numpy()
        rows.append(scores.reshape(len(batch), recipe.views, -1).mean(1))
    return np.concatenate(rows)


@dataclass(frozen=True)
class Held:
    """The labelled clips of a folder that are there to be scored.

    joints: sequence of (T, 27, 3) floating arrays in canvas pixels, read when asked for. labels: (N,) class indices;
    of a skeleton set those of its sorted glosses. glosses: the classes' names, empty where the folder does not say.
    folds: (N,), -1 where there are none. groups: (N,) gloss and source, whose takes are alike; empty where unknown.
    estimator: what the keypoints are from. files: those that define the clips, over which their hash goes.
    """

    folder: Path
    names: tuple[str, ...]
    labels: np.ndarray
    joints: Sequence[np.ndarray]
    glosses: tuple[str, ...]
    folds: np.ndarray
    groups: tuple[str, ...]
    estimator: str
    files: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.labels)


def read_held(folder: str | Path, split: str = "val") -> Held:
    """The clips of a folder to score: a skeleton set, or upstream's `{split}_data_joint.npy` + `{split}_label.pkl`.

    Arrays stay on disk and are mapped. Raises UserError when there is neither, or a file cannot be read.
    """
    folder = Path(folder)
    if (folder / f"{split}_data_joint.npy").exists() or (folder / f"{split}_label.pkl").exists():
        return _held_arrays(folder, split)
    if not (folder / "index.csv").exists():
        raise UserError(
            f"{folder} holds no data set: neither {split}_data_joint.npy with {split}_label.pkl, nor clips.npz with "
            "index.csv."
        )
    clips = read_skeletons(folder)
    glosses = tuple(sorted({clip.gloss for clip in clips}))
    index = {gloss: i for i, gloss in enumerate(glosses)}
    return Held(
        folder,
        tuple(clip.name for clip in clips),
        np.array([index[clip.gloss] for clip in clips]),
        [clip.joints for clip in clips],
        glosses,
        np.array([clip.fold for clip in clips]),
        tuple(f"{clip.gloss}/{clip.source}" for clip in clips) if all(clip.source for clip in clips) else (),
        "mediapipe-holistic",
        (folder / "clips.npz", folder / "index.csv"),
    )


def _held_arrays(folder: Path, split: str) -> Held:
    array_file, label_file = folder / f"{split}_data_joint.npy", folder / f"{split}_label.pkl"
    names, labels = read_labels(label_file)
    clips = ArrayClips(array_file)
    if len(clips) != len(labels):
        raise UserError(f"{array_file} holds {len(clips)} clips, but {label_file.name} labels {len(labels)}.")
    folds = np.full(len(labels), -1)
    return Held(folder, names, labels, clips, (), folds, (), "hrnet-wholebody", (array_file, label_file))


class ArrayClips(Sequence[np.ndarray]):
    """The clips of upstream's array (N, 3, T, 27[, persons]), each (T, 27, 3) of the first person; mapped, not read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        shape = self._array.shape
        if len(shape) not in (4, 5) or shape[1] != 3 or shape[3] != NUM_JOINTS or 0 in shape:
            raise UserError(f"{path} must be (clips, 3, frames, {NUM_JOINTS}, persons), not {shape}.")
        if not np.issubdtype(self._array.dtype, np.floating):
            raise UserError(f"{path} must hold floating-point numbers, not {self._array.dtype}.")

    @cached_property
    def _array(self) -> np.ndarray:
        try:
            return np.load(self.path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise UserError(f"{self.path} is missing.") from error
        except (ValueError, OSError, EOFError, SyntaxError, OverflowError) as error:
            raise UserError(f"{self.path} cannot be read ({error}): copy it again.") from error

    def __reduce__(self) -> tuple[Any, ...]:
        return ArrayClips, (self.path,)  # another process maps the file anew instead of being sent a copy

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, i: Any) -> np.ndarray:
        clip = self._array[int(i)]
        return np.ascontiguousarray((clip[..., 0] if clip.ndim == 4 else clip).transpose(1, 2, 0))


def file_sha256(path: str | Path) -> str:
    """sha256 of a file's content, as `sha256sum` prints it."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
