"""Datasets on disk, and batches of network input."""

import csv
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dsta.augment import Augmentation, augment
from dsta.errors import UserError
from dsta.skeleton import CANVAS, NUM_JOINTS
from dsta.streams import Recipe, Stream, prepare, views

UNKNOWN_ASPECT = 4 / 3  # skeleton sets do not say how wide their pictures were
_COLUMNS = ("clip", "gloss", "source", "fold")


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
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} cannot be read ({error}): copy the data set again.") from error


def _read_index(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: a skeleton set is a folder with clips.npz and index.csv.") from error
    if not rows or any(column not in rows[0] for column in _COLUMNS):
        raise UserError(f"{path} must have rows with the columns {', '.join(_COLUMNS)}.")
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
