"""Signs that a tiny network can tell apart, and what a training leaves behind."""

import json

import numpy as np
import torch


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
