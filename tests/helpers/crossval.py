"""Two tiny skeleton sets of four folds, and what their networks have scored."""

import csv
from functools import partial

import numpy as np

from dsta.streams import Recipe
from dsta.train import TrainConfig

SETS = {"alpha": "abc", "beta": "bcd"}  # they share two glosses; only beta knows d
SMALL = Recipe(window=4, bone="direct", normalise="shoulders", views=2)
tiny = partial(TrainConfig, inner_dim=8, depth=1, batch_size=24, per_gloss=4)


def write_set(folder, glosses, relabel=None):
    """Four folds with two clips of each gloss; relabel: (fold, gloss) -> the gloss that is written instead."""
    folder.mkdir(parents=True)
    rows, arrays = [("clip", "gloss", "source", "fold")], {}
    for i in range(4 * 2 * len(glosses)):
        gloss, fold = glosses[i % len(glosses)], i // (2 * len(glosses))
        points = np.random.default_rng(ord(gloss)).uniform(0.2, 0.8, (1, 27, 2))
        rng = np.random.default_rng([i, *folder.name.encode()])
        points = points + rng.normal(0, 0.05, (1, 27, 2)) + rng.normal(0, 0.02, (4, 27, 2))
        points[:, 1], points[:, 2] = (0.6, 0.4), (0.4, 0.4)
        arrays[f"{folder.name}{i}"] = np.dstack([points, np.ones((4, 27))]).astype(np.float32)
        rows.append((f"{folder.name}{i}", (relabel or {}).get((fold, gloss), gloss), f"s{fold}", fold))
    with (folder / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    np.savez(folder / "clips.npz", **arrays)
    return folder


def scores_of(folder):
    with np.load(folder / "scores.npz") as file:
        return {key: file[key] for key in file.files}
