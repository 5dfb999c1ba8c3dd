"""Clips → logits and embeddings: the one path, for page, training and evaluation."""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dsta.checkpoint import Ensemble
from dsta.common.device import DeviceSettings, autocast, quickest_dtype
from dsta.common.loading import loading
from dsta.data.clips import PickedClips
from dsta.folded import FoldedNetworks, folded
from dsta.model import DSTA
from dsta.skeleton import NUM_JOINTS
from dsta.streams import Recipe, Stream, prepare, views

Advance = Callable[[int], Any]
"""Called with a number of clips that have just been scored."""
_WIDE = 64  # channels from which a network gains by bfloat16 on a CPU that has it


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
    the batch is halved until it fits. The network is folded as it is now, once until it changes (`dsta.folded`).
    """
    return _side_by_side([model], [stream], clips, recipe, settings or DeviceSettings(), advance)[0]


def score_streams(
    ensemble: Ensemble, clips: Sequence[np.ndarray], settings: DeviceSettings | None = None
) -> dict[str, Scores]:
    """What each stream's network of an ensemble says of the clips. Networks and input of the same sizes run as one."""
    alike: dict[Any, list[str]] = defaultdict(list)
    for stream, checkpoint in ensemble.checkpoints.items():
        alike[checkpoint.recipe, checkpoint.model.config].append(stream)
    said: dict[str, Scores] = {}
    for (recipe, _), streams in alike.items():
        models = [ensemble.checkpoints[stream].model for stream in streams]
        scores = _side_by_side(models, streams, clips, recipe, settings or DeviceSettings(), lambda clips: None)
        said |= dict(zip(streams, scores, strict=True))
    return {stream: said[stream] for stream in ensemble.checkpoints}


@torch.inference_mode()
def score_inputs(model: DSTA, inputs: Tensor, dtype: str = "fp32") -> tuple[Tensor, Tensor]:
    """Logits (N, K) and embeddings (N, D), float32 on the network's device, of prepared clips (N, views, C, T, 27).

    By the network as it trains, unfolded: for validation, between whose calls the weights change. The logits are the
    classifier's of the mean embedding, which for a linear one is the mean of the views' logits.
    """
    device = next(model.parameters()).device
    with autocast(device, dtype):
        embeddings = model.embed(inputs.flatten(0, 1).to(device, non_blocking=True))
        embeddings = embeddings.float().view(*inputs.shape[:2], -1).mean(1)
        return model.classifier(embeddings).float(), embeddings


def _side_by_side(
    models: Sequence[DSTA],
    streams: Sequence[Stream | str],
    clips: Sequence[np.ndarray],
    recipe: Recipe,
    settings: DeviceSettings,
    advance: Advance,
) -> list[Scores]:
    """What networks of the same sizes say, each of its own stream of the clips."""
    device = next(models[0].parameters()).device
    dtype = settings.dtype
    if dtype == "quickest":
        dtype = quickest_dtype(device) if models[0].config.inner_dim >= _WIDE else "fp32"
    networks = folded(models, recipe.window, half=dtype == "bf16")
    batch, done = clips_per_batch(recipe, settings), 0
    parts: list[tuple[Tensor, Tensor]] = []
    while done < len(clips):
        rest = _StreamsInputs(streams, recipe, PickedClips(clips, range(done, len(clips))))
        try:
            for inputs in _batches(rest, settings, min(batch, len(rest)), device.type == "cuda"):
                inputs = inputs.to(device, non_blocking=True)
                parts.append(_by_clip(models, networks, inputs))
                done += len(inputs)
                advance(len(inputs))
        except torch.cuda.OutOfMemoryError:
            if batch == 1:
                raise
            batch //= 2
            torch.cuda.empty_cache()
            print(f"The GPU's memory is too small: going on with batches of {batch} clips.", file=sys.stderr)
    logits, embeddings = (torch.cat(part, 1).cpu().numpy() for part in zip(*parts, strict=True))
    return [Scores(*of_stream) for of_stream in zip(logits, embeddings, strict=True)]


@torch.inference_mode()
def _by_clip(models: Sequence[DSTA], networks: FoldedNetworks, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (S, n, K) and embeddings (S, n, D) of clips (n, S, views, C, T, 27): float32, as `score_inputs`."""
    n, s, views = inputs.shape[:3]
    embeddings = networks(inputs.transpose(0, 1).flatten(1, 2))[1].float().view(s, n, views, -1).mean(2)
    last = [model.classifier for model in models]  # one that was taught is not linear
    logits = [own(of.to(own.weight.dtype)).float() for own, of in zip(last, embeddings, strict=True)]
    return torch.stack(logits), embeddings


class NetworkInputs(Dataset[Tensor]):
    """Network input of clips: (views, C, window, 27) float32 each."""

    def __init__(self, stream: Stream | str, recipe: Recipe, clips: Sequence[np.ndarray]) -> None:
        self.stream, self.recipe, self.clips = stream, recipe, clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> Tensor:
        inputs = [prepare(view, self.stream, self.recipe) for view in views(self.clips[i], self.recipe)]
        return torch.from_numpy(np.stack(inputs)).float()


class _StreamsInputs(Dataset[Tensor]):
    """Network input of clips in several streams: (streams, views, C, window, 27) float32 each."""

    def __init__(self, streams: Sequence[Stream | str], recipe: Recipe, clips: Sequence[np.ndarray]) -> None:
        self.recipe, self.each = recipe, [NetworkInputs(stream, recipe, clips) for stream in streams]

    def __len__(self) -> int:
        return len(self.each[0])

    def __getitem__(self, i: int) -> Tensor:
        return torch.stack([inputs[i] for inputs in self.each])


def clips_per_batch(recipe: Recipe, settings: DeviceSettings) -> int:
    """A batch counts network inputs, of which a clip has as many as the recipe has views."""
    return max(1, settings.batch // recipe.views)


def _batches(inputs: _StreamsInputs, settings: DeviceSettings, batch: int, on_gpu: bool) -> Iterator[Tensor]:
    """Prepared clips, batch by batch; for a GPU by worker processes."""
    recipe = inputs.recipe
    each = batch * len(inputs.each) * recipe.views * recipe.channels * recipe.window * NUM_JOINTS * 4
    workers = min(settings.workers, -(-len(inputs) // batch)) if on_gpu else 0
    yield from DataLoader(inputs, batch, **loading(workers, 2, each, pin=on_gpu))
