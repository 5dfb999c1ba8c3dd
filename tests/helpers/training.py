"""Signs that a tiny network can tell apart, runs on them, and what a run leaves behind."""

import json

import numpy as np
import torch

from dsta.data import Clip
from dsta.streams import Recipe, Stream
from dsta.train import Compute, ReferenceConfig, TrainingRun
from dsta.train.splits import TrainingClips

RECIPE = Recipe(window=8)
CONFIG = ReferenceConfig(epochs=3, schedule=3, batch_size=4, learning_rate=0.01, inner_dim=8, depth=3)
"""Three blocks are the fewest with DropBlock."""
QUIET = Compute(progress=False)
PATIENCE = 300
"""Seconds until a process counts as hanging: the other tests take the cores too."""


def picture_clip(gloss, seed):
    """(5, 27, 3), x and y as fractions of the picture: in `up` the right hand is above where it is in `down`."""
    rng = np.random.default_rng(seed)
    points = np.tile(np.random.default_rng(0).uniform(0.3, 0.7, (1, 27, 2)), (5, 1, 1))
    points[:, 1], points[:, 2] = (0.6, 0.5), (0.4, 0.5)
    points[:, 17:, 1] += -0.25 if gloss == "up" else 0.25
    points += rng.normal(0, 0.02, (1, 27, 2))  # no take is another one's copy
    return np.dstack([points + rng.normal(0, 0.01, points.shape), np.ones((5, 27))]).astype(np.float32)


def clips(count, seed=0):
    """Clips (10, 27, 3) in pixels, by turns `up` and `down`."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        joints = np.random.default_rng(99).uniform(150, 350, (1, 27, 3)).repeat(10, 0) + rng.normal(0, 5, (10, 27, 3))
        joints[:, 17:, 1] += (-80, 80)[i % 2]
        joints[..., 2] = 1
        made.append(Clip(f"c{seed}-{i}", "set", ("up", "down")[i % 2], "", -1, joints.astype(np.float32)))
    return made


def task(config=CONFIG, val=0, recipe=RECIPE, **more):
    """A run on 8 clips, two steps an epoch, with so many others for validation."""
    material = TrainingClips(clips(8), clips(val, seed=1), ("down", "up"), "hrnet-wholebody", "best top-1 on some")
    return TrainingRun(material, Stream.JOINT, config, recipe, **more)


def log(out):
    """The log's lines without the clock."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def same(a, b):
    """Whether two checkpoints hold the same weights, to the bit."""
    a, b = a.model.state_dict(), b.model.state_dict()
    return a.keys() == b.keys() and all(torch.equal(tensor, b[name]) for name, tensor in a.items())
