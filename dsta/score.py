"""Clips → logits and embeddings: the one path, for page, training and evaluation."""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dsta.checkpoint import Ensemble
from dsta.common.device import DeviceSettings, autocast
from dsta.common.loading import loading
from dsta.data.clips import PickedClips
from dsta.model import DSTA
from dsta.skeleton import NUM_JOINTS
from dsta.streams import Recipe, Stream, prepare, views

Advance = Callable[[int], Any]
"""Called with a number of clips that have just been scored."""


class Scores(NamedTuple):
    """What a network says of N clips, float32.

    embeddings: (N, D), the mean of the pooled features over the recipe's views. logits: (N, K), the classifier's of it.
    """

    logits: np.ndarray
    embeddings: np.ndarray


def score(
    model: DSTA,
    clips: Sequence[np.ndarray],
    stream: Stream | str,
    recipe: Recipe,
    settings: DeviceSettings | None = None,
    advance: Advance = lambda clips: None,
) -> Scores:
    """Scores clips (T, 27, 3) in canvas pixels with a network in evaluation mode, on the network's device.

    settings: number format, batch and workers; by default float32 in this process. Without enough memory on the GPU
    the batch is halved until it fits.
    """
    settings = settings or DeviceSettings()
    batch, done = clips_per_batch(recipe, settings), 0
    parts: list[tuple[Tensor, Tensor]] = []
    while done < len(clips):
        rest = NetworkInputs(stream, recipe, PickedClips(clips, range(done, len(clips))))
        try:
            for inputs in _batches(rest, settings, min(batch, len(rest)), next(model.parameters()).is_cuda):
                parts.append(score_inputs(model, inputs, settings.dtype))
                done += len(inputs)
                advance(len(inputs))
        except torch.cuda.OutOfMemoryError:
            if batch == 1:
                raise
            batch //= 2
            torch.cuda.empty_cache()
            print(f"The GPU's memory is too small: going on with batches of {batch} clips.", file=sys.stderr)
    return Scores(*(torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True)))


@torch.inference_mode()
def score_inputs(model: DSTA, inputs: Tensor, dtype: str = "fp32") -> tuple[Tensor, Tensor]:
    """Logits (N, K) and embeddings (N, D), float32 on the network's device, of prepared clips (N, views, C, T, 27).

    The logits are the classifier's of the mean embedding, which for a linear one is the mean of the views' logits.
    """
    device = next(model.parameters()).device
    with autocast(device, dtype):
        embeddings = model.embed(inputs.flatten(0, 1).to(device, non_blocking=True))
        embeddings = embeddings.float().view(*inputs.shape[:2], -1).mean(1)
        return model.classifier(embeddings).float(), embeddings


def score_streams(
    ensemble: Ensemble, clips: Sequence[np.ndarray], settings: DeviceSettings | None = None
) -> dict[str, Scores]:
    """What each stream's network of an ensemble says of the clips."""
    return {
        stream: score(checkpoint.model, clips, stream, checkpoint.recipe, settings)
        for stream, checkpoint in ensemble.checkpoints.items()
    }


class NetworkInputs(Dataset[Tensor]):
    """Network input of clips: (views, C, window, 27) float32 each."""

    def __init__(self, stream: Stream | str, recipe: Recipe, clips: Sequence[np.ndarray]) -> None:
        self.stream, self.recipe, self.clips = stream, recipe, clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> Tensor:
        inputs = [prepare(view, self.stream, self.recipe) for view in views(self.clips[i], self.recipe)]
        return torch.from_numpy(np.stack(inputs)).float()


def clips_per_batch(recipe: Recipe, settings: DeviceSettings) -> int:
    """A batch counts network inputs, of which a clip has as many as the recipe has views."""
    return max(1, settings.batch // recipe.views)


def _batches(inputs: NetworkInputs, settings: DeviceSettings, batch: int, on_gpu: bool) -> Iterator[Tensor]:
    """Prepared clips, batch by batch; for a GPU by worker processes."""
    recipe = inputs.recipe
    each = batch * recipe.views * recipe.channels * recipe.window * NUM_JOINTS * 4
    workers = min(settings.workers, -(-len(inputs) // batch)) if on_gpu else 0
    yield from DataLoader(inputs, batch, **loading(workers, 2, each, pin=on_gpu))
