"""Logits the plain way, one clip after the other: what `dsta.score` is held against."""

import numpy as np
import torch

from dsta.streams import prepare, views


@torch.inference_mode()
def logits(model, clips, stream, recipe):
    """(N, K) float32: the mean over the recipe's views."""
    rows = []
    for clip in clips:
        inputs = np.stack([prepare(view, stream, recipe) for view in views(clip, recipe)])
        rows.append(model(torch.from_numpy(inputs).float()).float().mean(0).numpy())
    return np.stack(rows)
