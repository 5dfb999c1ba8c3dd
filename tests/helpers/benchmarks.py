"""Tiny benchmarks, skeleton sets, weights and cross-validations, with the folders and files of the real ones."""

import csv
import pickle
from dataclasses import replace

import numpy as np
import torch

from dsta.checkpoint import Checkpoint
from dsta.data import official
from dsta.model import DSTA, ModelConfig
from dsta.streams import Recipe, Stream, prepare
from dsta.train import SMALL_RECIPE

STREAMS = tuple(map(str, Stream))
SMALL = replace(SMALL_RECIPE, window=6, views=2)


def network(folder, glosses, stream, recipe=None, estimator="hrnet-wholebody", seed=0, **provenance):
    """Writes an untrained network whose answers do depend on the clip."""
    torch.manual_seed(seed)
    recipe = recipe or Recipe(window=8)
    model = DSTA(ModelConfig(len(glosses), recipe.channels, inner_dim=8, depth=2))
    _spread(model.eval(), stream, recipe)
    Checkpoint(model.eval(), Stream(stream), recipe, tuple(glosses), estimator, provenance).save(folder)
    return folder


@torch.no_grad()
def _spread(model, stream, recipe):
    """Gives each logit mean 0 and spread 2 over clips, else an untrained network always says the same."""
    rng = np.random.default_rng(4)
    clips = rng.uniform(100, 400, (32, 9, 27, 3)) + rng.normal(0, 60, (32, 1, 27, 3))
    clips[..., 2] = 1
    scores = model(torch.tensor(np.stack([prepare(clip, stream, recipe) for clip in clips])).float())
    model.classifier.weight.mul_(2 / scores.std(0)[:, None])
    model.classifier.bias.sub_(scores.mean(0)).mul_(2 / scores.std(0))


def upstream_set(folder, names, labels, frames=9, seed=0, split="val", dtype=np.float32):
    """Writes upstream's array and label pickle; clips of one class are much alike, those of others are not."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    labels = np.asarray(labels)
    shapes = np.random.default_rng(99).uniform(100, 400, (int(labels.max()) + 1, 2, 1, 27, 1))
    clips = np.ones((len(labels), 3, frames, 27, 1))
    takes = rng.normal(0, 10, (len(labels), 2, 1, 27, 1))  # none is another one's copy
    clips[:, :2] = shapes[labels] + takes + rng.normal(0, 6, (len(labels), 2, frames, 27, 1))
    np.save(folder / f"{split}_data_joint.npy", clips.astype(dtype))
    (folder / f"{split}_label.pkl").write_bytes(pickle.dumps((list(names), [int(label) for label in labels])))
    return folder


def wlasl100(data, per_class=1, split=("val", "test"), seed=0):
    """A WLASL100 of some clips of each class, by their official names, classes and splits; shuffled."""
    chosen, counts = [], {}
    for name, entry in official("WLASL100").items():
        place = (entry.label, entry.split)
        if entry.split in split and counts.get(place, 0) < per_class:
            counts[place] = counts.get(place, 0) + 1
            chosen.append((name, entry.label))
    order = np.random.default_rng(seed).permutation(len(chosen))
    names, labels = zip(*[chosen[i] for i in order], strict=True)
    return upstream_set(data / "WLASL100", names, labels)


def skeleton_set(folder, glosses=("book", "deaf", "hello"), folds=2, per_fold=4, seed=0):
    """A skeleton set: fractions of the picture, two sources a fold."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows, arrays = [], {}
    for fold in range(folds):
        for g, gloss in enumerate(glosses):
            for take in range(per_fold):
                clip = rng.uniform(0.1, 0.9, (int(rng.integers(5, 9)), 27, 3)).astype(np.float32)
                clip[:, :, :2] += 0.1 * g
                clip[..., 2] = 1
                name = f"{gloss}/f{fold}-{take}"
                arrays[name] = clip
                rows.append((name, gloss, f"s{fold}{take % 2}", fold, len(clip)))
    with (folder / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("clip", "gloss", "source", "fold", "frames"), *rows])
    np.savez(folder / "clips.npz", **arrays)
    return folder


def crossval_run(run, sets, streams=STREAMS, recipe=SMALL, folds=(0, 1), judged=True):
    """What `eval/crossval.py` leaves behind: a network per fold and stream, the choice, the judges' scores."""
    from helpers.scores import logits

    from dsta.data import read_skeletons
    from dsta.train.runs import Choice, CrossValidation, NetworkScores

    made = CrossValidation(run)
    clips = [clip for folder in sets for clip in read_skeletons(folder)]
    glosses, names = sorted({clip.gloss for clip in clips}), [folder.name for folder in sets]
    kind = {"recipe": recipe, "estimator": "mediapipe-holistic", "datasets": names}
    for stream in streams:
        for fold in folds:
            network(made.network([fold], stream), glosses, stream, seed=fold, without_folds=[fold], **kind)
        if judged:
            judge = network(made.network(folds, stream), glosses, stream, seed=7, without_folds=list(folds), **kind)
            unseen = [clip for clip in clips if clip.fold in folds]
            scores = NetworkScores(judge)
            scores.keep(2, logits(Checkpoint.load(judge).model, [clip.joints for clip in unseen], stream, recipe))
            scores.join([f"{clip.dataset}/{clip.name}" for clip in unseen], [2])
    weights = dict(zip(STREAMS, (0.4, 0.3, 0.2, 0.1), strict=True))
    fusion, temperature = dict.fromkeys(names, weights), dict.fromkeys(names, 1.5)
    made.write_choices({fold: Choice(2, folds[1 - i], 0.0, fusion, temperature) for i, fold in enumerate(folds)})
    return run
