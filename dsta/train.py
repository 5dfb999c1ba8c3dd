"""The training loop: labelled clips in, a checkpoint out. One process.

python -m dsta.train --data data/NAME --stream joint --out weights/NAME/joint
"""

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from dsta.augment import Augmentation
from dsta.checkpoint import Checkpoint
from dsta.data import Clip, capped, read_skeletons, sampling_share, training_batches
from dsta.errors import UserError, exit_code
from dsta.files import replace_file
from dsta.model import DSTA, ModelConfig
from dsta.streams import Recipe, Stream

SMALL_RECIPE = Recipe(
    window=16,
    bone="direct",
    normalise="shoulders",
    handless="drop",
    hand_local=True,
    views=4,
)
"""Input for sets of some thousand clips, where the reference's recipe overfits to who stands where."""

RESUME_FILE = "training.pt"


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained on a small set.

    schedule: epochs over which the learning rate falls to zero; epochs: those that are run, at most `schedule`.
    per_source: clips of one gloss and source in an epoch, drawn anew each time.
    balance: how much of the glosses' unequal shares in an epoch is taken out of the trained logits: 0 nothing, so that
        frequent glosses win when in doubt, 1 all (post-hoc logit adjustment, arXiv 2007.07314).
    """

    epochs: int = 50
    schedule: int = 50
    batch_size: int = 16
    learning_rate: float = 8e-3
    weight_decay: float = 0.05
    warm_up: float = 0.06
    clip_norm: float = 5.0
    label_smoothing: float = 0.1
    per_source: int = 3
    balance: float = 0.0
    seed: int = 0
    inner_dim: int = 16
    depth: int = 3
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if not 1 <= self.epochs <= self.schedule:
            raise UserError(f"--epochs must be 1 to {self.schedule} (the schedule), not {self.epochs}.")


def train(
    clips: Sequence[Clip],
    stream: Stream,
    out: str | Path,
    config: TrainConfig | None = None,
    recipe: Recipe = SMALL_RECIPE,
    glosses: Sequence[str] | None = None,
    provenance: dict[str, Any] | None = None,
    progress: bool = True,
    after_epoch: Callable[[int, DSTA], None] | None = None,
) -> Checkpoint:
    """Trains on all of `clips` and writes the checkpoint of the last epoch to `out`.

    Interrupted, the next call with the same arguments continues after the last finished epoch, on the same curve:
    each epoch draws from a generator seeded by (seed, epoch). Each epoch's loss is a line of `out/log.jsonl`.
    glosses: the vocabulary, by default that of the clips; one without a clip keeps its place and is never predicted.
    after_epoch: called with the number of finished epochs and the network, in evaluation mode and not yet balanced.
    """
    config, out = config or TrainConfig(), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    glosses = sorted(glosses or {clip.gloss for clip in clips})
    label_of = {gloss: i for i, gloss in enumerate(glosses)}
    torch.manual_seed(config.seed)
    model = DSTA(ModelConfig(len(glosses), recipe.channels, config.inner_dim, config.depth))
    optimizer = _optimizer(model, config)
    same = asdict(replace(config, epochs=config.schedule, balance=0.0))  # what does not change the curve is left out
    run = json.dumps([stream, recipe.to_dict(), same, glosses, len(clips)])
    history = _resume(out / RESUME_FILE, run, model, optimizer)
    first = len(history)
    for epoch in tqdm(range(first, config.epochs), initial=first, total=config.epochs, disable=not progress):
        rng = np.random.default_rng([config.seed, epoch])
        chosen = capped(clips, config.per_source, rng)
        if len(chosen) < config.batch_size:
            raise UserError(f"{len(chosen)} clips do not fill a batch of {config.batch_size}: add clips.")
        batches = training_batches(chosen, label_of, stream, recipe, config.augmentation, config.batch_size, rng)
        started = time.perf_counter()
        loss, accuracy = _epoch(model, optimizer, batches, config, epoch, len(chosen) // config.batch_size)
        line = {"epoch": epoch, "loss": loss, "accuracy": accuracy, "seconds": time.perf_counter() - started}
        if after_epoch:
            after_epoch(epoch + 1, model.eval())
        history.append(line)
        _save_resume(out / RESUME_FILE, run, model, optimizer, history)
        replace_file(out / "log.jsonl", "".join(json.dumps(line) + "\n" for line in history).encode())
    share = sampling_share(clips, config.per_source, glosses)
    with torch.no_grad():
        model.classifier.bias -= config.balance * torch.from_numpy(np.log(share)).float()
    made_by = {**(provenance or {}), "training": asdict(config), "clips": len(clips), "torch": torch.__version__}
    checkpoint = Checkpoint(model.eval(), stream, recipe, tuple(glosses), "mediapipe-holistic", made_by)
    checkpoint.save(out)
    (out / RESUME_FILE).unlink(missing_ok=True)
    return checkpoint


def _optimizer(model: DSTA, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW that decays matrices only: biases, norms and scales are free."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def _epoch(
    model: DSTA, optimizer: torch.optim.Optimizer, batches: Any, config: TrainConfig, epoch: int, steps: int
) -> tuple[float, float]:
    """One pass; returns the mean loss and the training accuracy, on varied clips."""
    model.train()
    losses, correct, count = [], 0, 0
    for step, (x, y) in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * _pace((epoch + step / steps) / config.schedule, config.warm_up)
        scores = model(x)
        loss = F.cross_entropy(scores, y, label_smoothing=config.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        losses.append(loss.item())
        correct += int((scores.argmax(1) == y).sum())
        count += len(y)
    return float(np.mean(losses)), correct / count


def _pace(done: float, warm_up: float) -> float:
    """Share of the peak learning rate when `done` of the schedule has passed: linear warm-up, then cosine to zero."""
    if done < warm_up:
        return max(done / warm_up, 0.02)
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


def _save_resume(
    path: Path, run: str, model: DSTA, optimizer: torch.optim.Optimizer, history: list[dict[str, float]]
) -> None:
    state = {"run": run, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "history": history}
    beside = path.with_suffix(".part")
    torch.save(state, beside)
    beside.replace(path)


def _resume(path: Path, run: str, model: DSTA, optimizer: torch.optim.Optimizer) -> list[dict[str, float]]:
    """Restores an interrupted run and returns the log of its finished epochs; nothing was begun: an empty log."""
    if not path.exists():
        return []
    state = torch.load(path, weights_only=True)
    if state["run"] != run:
        raise UserError(f"{path.parent} holds an unfinished run with other settings: finish it or delete {path}.")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["history"]


def git_commit() -> str:
    """The commit of this code, with `+` when files differ from it; empty outside a repository."""
    root = Path(__file__).parents[1]
    run = [
        subprocess.run(["git", *args], cwd=root, capture_output=True, text=True, check=False).stdout.strip()
        for args in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
    ]
    return run[0] + ("+" if run[0] and run[1] else "")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dsta.train", description="Train one stream on skeleton sets.")
    parser.add_argument("--data", nargs="+", required=True, metavar="DIR", help="skeleton sets; several are joined")
    parser.add_argument("--stream", type=Stream, choices=list(Stream), required=True)
    parser.add_argument("--out", required=True, metavar="DIR", help="where the checkpoint goes; continues if begun")
    parser.add_argument("--without-folds", nargs="*", type=int, default=[], metavar="FOLD", help="folds left out")
    parser.add_argument("--epochs", type=int, default=TrainConfig.epochs, help="epochs to run (default %(default)s)")
    parser.add_argument("--schedule", type=int, help="epochs until the learning rate is zero (default: --epochs)")
    parser.add_argument("--per-source", type=int, default=TrainConfig.per_source)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--licence", default="", help="licence of the weights, for their configuration")
    return exit_code(lambda: _run(parser.parse_args(arguments)))


def _run(args: argparse.Namespace) -> None:
    config = TrainConfig(args.epochs, args.schedule or args.epochs, per_source=args.per_source, seed=args.seed)
    every = [clip for folder in args.data for clip in read_skeletons(folder)]
    clips = [clip for clip in every if clip.fold not in args.without_folds]
    if not clips:
        raise UserError("No clip is left to train on: leave fewer folds out.")
    provenance = {
        "datasets": [Path(folder).name for folder in args.data],
        "without_folds": args.without_folds,
        "selection": "last epoch",
        "commit": git_commit(),
        "licence": args.licence,
    }
    vocabulary = sorted({clip.gloss for clip in every})
    train(clips, args.stream, args.out, config, glosses=vocabulary, provenance=provenance)


if __name__ == "__main__":
    sys.exit(main())
