"""Batches of network input for training: what is drawn depends on seed, epoch and clip, not on who draws it."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from dsta.common import UserError
from dsta.common.loading import loading
from dsta.data import Clip
from dsta.skeleton import CANVAS, INDEX, MIRROR, NUM_JOINTS
from dsta.streams import Draw, Recipe, Stream, checked, prepare, stream_frames, training_draw
from dsta.train.augment import augment
from dsta.train.config import ReferenceConfig, TrainConfig
from dsta.train.distributed import Group
from dsta.train.sampling import drawn

Batch = tuple[Tensor, Tensor]
"""Network input (N, C, window, 27) float32 and labels (N,)."""
ClipDraw = tuple[int, int, Draw | None]
"""Epoch, the clip's index, and its draws where they depend on what was drawn before."""

FAITHFUL_WORKERS = 4  # upstream `config/train.yaml`, num_worker
_AHEAD = 8  # batches that a worker has ready


@dataclass(frozen=True)
class Workers:
    """Who draws and for whom. workers: processes that prepare batches, 0 is this one; pin: for a GPU to fetch from."""

    group: Group = field(default_factory=Group)
    workers: int = 0
    pin: bool = False


def training_batches(
    clips: Sequence[Clip],
    label_of: dict[str, int],
    streams: Sequence[Stream],
    recipe: Recipe,
    config: TrainConfig,
    rng: np.random.Generator,
    part: slice = slice(None),
) -> Iterator[Batch]:
    """One shuffled pass of varied clips in full batches, of each the part that is asked for: network input
    (streams, N, C, window, 27) and labels (N,).

    One generator draws for all clips in turn, so whoever wants a part varies the whole batch.
    """
    order, size = rng.permutation(len(clips)), config.batch_size
    for start in range(0, len(order) - size + 1, size):
        chosen = [clips[i] for i in order[start : start + size]]
        varied = [augment(clip.joints, rng, config.augmentation) for clip in chosen][part]
        inputs = np.stack([[prepare(clip, stream, recipe) for clip in varied] for stream in streams])
        yield torch.from_numpy(inputs).float(), torch.tensor([label_of[clip.gloss] for clip in chosen[part]])


class SmallBatches:
    """Epochs for a small set: some clips of each gloss and source, varied by `dsta.train.augment`."""

    def __init__(
        self,
        clips: Sequence[Clip],
        label_of: dict[str, int],
        stream: Stream,
        recipe: Recipe,
        config: TrainConfig,
        supply: Workers,
    ) -> None:
        self.clips, self.label_of, self.stream, self.recipe = clips, label_of, stream, recipe
        self.config, self.supply, self.part = config, supply, supply.group.part(config.batch_size)
        self.steps = _steps(len(self._chosen(np.random.default_rng(0))), config.batch_size)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, `steps` of them, drawn from a generator seeded by (seed, epoch)."""
        each = self.config.batch_size * self.recipe.channels * self.recipe.window * NUM_JOINTS * 4
        workers = min(1, self.supply.workers)  # one generator draws for all clips in turn
        yield from DataLoader(_Pass(self, epoch), None, **loading(workers, 2, each, self.supply.pin))

    def drawn(self, epoch: int) -> Iterator[Batch]:
        return ((x[0], y) for x, y in self.of_streams(epoch, [self.stream]))

    def of_streams(self, epoch: int, streams: Sequence[Stream]) -> Iterator[Batch]:
        """An epoch as networks of several streams see it: their network input is stacked in front."""
        rng = np.random.default_rng([self.config.seed, epoch])
        return training_batches(self._chosen(rng), self.label_of, streams, self.recipe, self.config, rng, self.part)

    def _chosen(self, rng: np.random.Generator) -> list[Clip]:
        return drawn(self.clips, self.config.per_gloss, self.config.spread, rng)


class _Pass(IterableDataset[Batch]):
    def __init__(self, batches: SmallBatches, epoch: int) -> None:
        self.batches, self.number = batches, epoch

    def __iter__(self) -> Iterator[Batch]:
        return self.batches.drawn(self.number)


class Frames:
    """The stream's frames of all clips in memory, from which batches are gathered: `prepare` for many clips at once.

    Bones and motion, which no draw changes, are computed once. An array of 14 289 clips of 150 frames is 0.7 GB.
    Raises UserError when a clip holds NaN, or the recipe has no training draws.
    """

    def __init__(self, clips: Sequence[Clip], stream: Stream, recipe: Recipe) -> None:
        if recipe.normalise != "nose":
            raise UserError("The reference recipe trains on upstream's input only: give --recipe small.")
        self.stream, self.recipe = stream, recipe
        self.lengths = np.array([len(clip.joints) for clip in clips])
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.frames = np.empty((self.lengths.sum(), 3, NUM_JOINTS), clips[0].joints.dtype)
        for start, clip in zip(self.starts, clips, strict=True):
            try:
                frames = stream_frames(checked(clip.joints), stream, recipe)
            except UserError as error:
                raise UserError(f"Training clip {clip.name}: {error}") from error
            self.frames[start : start + len(frames)] = frames.transpose(0, 2, 1)

    def gather(self, indices: Sequence[int], draws: Sequence[Draw]) -> np.ndarray:
        """(N, 3, window, 27) float32: of each clip what `prepare` gives with these draws."""
        at = np.array([draw.frames for draw in draws]) + self.starts[list(indices)][:, None]
        x = self.frames[at]
        mirrored = np.array([draw.mirrored for draw in draws])
        if mirrored.any():
            turned = x[mirrored][..., MIRROR]
            turned[:, :, 0] = CANVAS - turned[:, :, 0]
            x[mirrored] = turned
        x = np.ascontiguousarray(x.transpose(0, 2, 1, 3))
        x[:, :2] -= x[:, :2, :, INDEX["nose"]].mean(2)[..., None, None]
        if not self.stream.is_bone:
            x[:, :2] += np.array([draw.shift for draw in draws], x.dtype)[..., None, None]
        return x.astype(np.float32, copy=False)


class ReferenceDraws:
    """What the reference recipe draws: the clips of each batch in random order, and the training draws of each clip.

    Two of the reference's bugs are here, matched only where the configuration is `faithful`:
    - Upstream `main.py` seeds every data-loader worker with 1 (`worker_init_fn=init_seed`), and workers start anew with
      each epoch. So in each epoch the k-th batch of every worker has the same draws. Mended: a clip's draws come from a
      generator seeded by (seed, epoch, clip).
    - Upstream `feeders/feeder.py` shifts all but bone streams by up to 10 px, so also joint motion, which is smaller
      and which no shift of positions would change. `prepare` matches it; mended: motion is not shifted.
    """

    def __init__(self, frames: Frames, config: ReferenceConfig, part: slice) -> None:
        self.frames, self.config, self.part = frames, config, part
        self.steps = _steps(len(frames.lengths), config.batch_size)

    def draw(self, epoch: int, index: int, rng: random.Random | None = None) -> Draw:
        """The draws for a clip in an epoch, from its own generator unless one is given."""
        config, frames = self.config, self.frames
        rng = rng or random.Random(f"{config.seed} {epoch} {index}")
        draw = training_draw(int(frames.lengths[index]), frames.stream, frames.recipe, rng)
        return draw if config.faithful or frames.stream != Stream.JOINT_MOTION else draw._replace(shift=(0.0, 0.0))

    def batches(self, epoch: int) -> Iterator[list[ClipDraw]]:
        """This process's part of each batch of an epoch."""
        config = self.config
        order = np.random.default_rng([config.seed, epoch]).permutation(len(self.frames.lengths)).tolist()
        workers = [random.Random(1) for _ in range(FAITHFUL_WORKERS)] if config.faithful else []
        for step in range(self.steps):
            chosen = order[step * config.batch_size : (step + 1) * config.batch_size]
            draws: list[Draw | None] = [None] * len(chosen)
            if workers:
                draws = [self.draw(epoch, i, workers[step % FAITHFUL_WORKERS]) for i in chosen]
            yield [(epoch, i, draw) for i, draw in zip(chosen, draws, strict=True)][self.part]


class ReferenceBatches:
    """Epochs of the reference recipe: every clip once in random order, with the draws of `ReferenceDraws`."""

    def __init__(
        self,
        clips: Sequence[Clip],
        label_of: dict[str, int],
        stream: Stream,
        recipe: Recipe,
        config: ReferenceConfig,
        supply: Workers,
    ) -> None:
        frames = Frames(clips, stream, recipe)
        self.draws = ReferenceDraws(frames, config, supply.group.part(config.batch_size))
        labels = torch.tensor([label_of[clip.gloss] for clip in clips])
        self.steps, self.order = self.draws.steps, _Order(self.draws)
        each = config.batch_size // supply.group.size * 3 * recipe.window * NUM_JOINTS * 4
        how = loading(supply.workers, _AHEAD, each, supply.pin)
        kept = "num_workers" in how
        self.loader = DataLoader(
            _Gathered(self.draws, labels), None, sampler=self.order, persistent_workers=kept, **how
        )

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, `steps` of them."""
        self.order.epoch = epoch
        yield from self.loader


class _Order(Sampler[list[ClipDraw]]):
    """The batches of the epoch that is set."""

    def __init__(self, draws: ReferenceDraws) -> None:
        self.draws, self.epoch = draws, 0

    def __len__(self) -> int:
        return self.draws.steps

    def __iter__(self) -> Iterator[list[ClipDraw]]:
        return self.draws.batches(self.epoch)


class _Gathered(Dataset[Batch]):
    """Batches by their draws."""

    def __init__(self, draws: ReferenceDraws, labels: Tensor) -> None:
        self.draws, self.labels = draws, labels

    def __getitem__(self, items: Any) -> Batch:
        indices = [index for _, index, _ in items]
        draws = [draw or self.draws.draw(epoch, index) for epoch, index, draw in items]
        return torch.from_numpy(self.draws.frames.gather(indices, draws)), self.labels[indices]


def _steps(clips: int, batch_size: int) -> int:
    if clips < batch_size:
        raise UserError(f"{clips} clips do not fill a batch of {batch_size}: add clips, or lower --batch-size.")
    return clips // batch_size
