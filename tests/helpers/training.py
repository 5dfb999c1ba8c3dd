"""Signs that a tiny network can tell apart, and what a training leaves behind."""

import json

import numpy as np
import torch

from dsta.data import Clip
from dsta.streams import Recipe, Stream
from dsta.train import Compute, ReferenceConfig, TrainingRun
from dsta.train.splits import TrainingClips


def made_clip(gloss, seed):
    """Fractions (5, 27, 3): `up` and `down` differ in where the right hand is."""
    rng = np.random.default_rng(seed)
    points = np.tile(np.random.default_rng(0).uniform(0.3, 0.7, (1, 27, 2)), (5, 1, 1))
    points[:, 1], points[:, 2] = (0.6, 0.5), (0.4, 0.5)
    points[:, 17:, 1] += -0.25 if gloss == "up" else 0.25
    return np.dstack([points + rng.normal(0, 0.01, points.shape), np.ones((5, 27))]).astype(np.float32)


def log(out):
    """The log's lines without the clock."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def same(a, b):
    a, b = a.model.state_dict(), b.model.state_dict()
    return all(torch.equal(tensor, b[name]) for name, tensor in a.items())


RECIPE = Recipe(window=8)
CONFIG = ReferenceConfig(epochs=3, schedule=3, batch_size=4, learning_rate=0.01, inner_dim=8, depth=3)
QUIET = Compute(progress=False)


def clips(count, seed=0):
    """Clips (10, 27, 3): in `up` the right hand is above where it is in `down`."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        joints = np.random.default_rng(99).uniform(150, 350, (1, 27, 3)).repeat(10, 0) + rng.normal(0, 5, (10, 27, 3))
        joints[:, 17:, 1] += (-80, 80)[i % 2]
        joints[..., 2] = 1
        made.append(Clip(f"c{seed}-{i}", "set", ("up", "down")[i % 2], "", -1, joints.astype(np.float32)))
    return made


def task(config=CONFIG, val=0, recipe=RECIPE, **more):
    material = TrainingClips(clips(16), clips(val, seed=1), ("down", "up"), "hrnet-wholebody", "best top-1 on some")
    return TrainingRun(material, Stream.JOINT, config, recipe, **more)


RECIPE = Recipe(window=8)


CONFIG = ReferenceConfig(epochs=3, schedule=3, batch_size=4, learning_rate=0.01, inner_dim=8, depth=3)
