"""Training: labelled clips in, a checkpoint out. One process, or many.

    python -m dsta.train --data data/NAME --stream joint --out weights/NAME/joint
    python -m dsta.train --data data/NAME --stream all --out weights/NAME
    torchrun --nproc-per-node 8 -m dsta.train --data data/WLASL2000 --stream joint --out weights/WLASL2000/joint

A folder that is called like a benchmark is trained by the reference's recipe, unless its keypoints leave joints unseen,
as MediaPipe's do; any other by the one for small sets.
Interrupted, the same command goes on after the last finished epoch, on the same curve; until it is through, the folder
holds the best network so far, or the last.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dsta.checkpoint import Checkpoint, git_commit, origin, saw_folds
from dsta.common import UserError, at_least, exit_code
from dsta.common.device import chosen_dtype, own_device
from dsta.common.machine import cores
from dsta.common.stop import Stop
from dsta.data import find_spec
from dsta.data.read import estimator_of
from dsta.skeleton import LEFT_HAND, RIGHT_HAND
from dsta.streams import Recipe, Stream, seen
from dsta.train.beside import NetworkRun, train_side_by_side
from dsta.train.config import SMALL_RECIPE, AnyConfig, ReferenceConfig, TrainConfig
from dsta.train.distributed import joined
from dsta.train.fit import TrainingRun, finished_network, fit
from dsta.train.loop import Compute
from dsta.train.splits import Request, TrainingClips, print_notes, read_training_clips
from dsta.train.state import tell_stopped

SIZES = {
    "paper": {"inner_dim": 64, "depth": 4},
    "large": {"inner_dim": 48, "depth": 3},
    "medium": {"inner_dim": 32, "depth": 3},
    "compact": {"inner_dim": 16, "depth": 3},
}
ALL = "all"
FINDS_ALL = ("hrnet-wholebody",)
"""Estimators that place each joint in each frame."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dsta.train", description="Train the network of one stream.")
    add = parser.add_argument
    add("--data", nargs="+", required=True, type=Path, metavar="DIR", help="a data folder; several are joined")
    add("--stream", choices=[*Stream, ALL], required=True, help="all: the four of them, into OUT/STREAM")
    add("--out", required=True, type=Path, metavar="DIR", help="where the checkpoint goes; continues if begun")
    add(
        "--recipe",
        choices=["auto", "reference", "small"],
        default="auto",
        help="auto: by the data folder's name and estimator",
    )
    add("--model", choices=list(SIZES), help="size (default: paper with the reference recipe, else compact)")
    add("--init", type=Path, metavar="DIR", help="begin from these weights, or all from DIR/STREAM")
    add("--faithful", action="store_true", help="the reference recipe with the reference's bugs")
    add("--epochs", type=int, help="epochs to run (default: 250 with the reference recipe, else 50)")
    add("--schedule", type=int, help="epochs of the whole course (default: --epochs)")
    for name in ("learning-rate", "clip-norm", "per-gloss", "spread"):
        add(f"--{name}", type=float, help="instead of the recipe's")
    add("--batch-size", type=int, help="instead of the recipe's; of all processes together")
    add("--ema", type=float, dest="average", metavar="DECAY", help="average the weights, and save the better: 0.999")
    add("--seed", type=int, help="of everything that is drawn (default 0)")
    add(
        "--select",
        choices=["val", "last"],
        help="epoch: best on validation clips, or last (default: see docs/train.md)",
    )
    add("--select-every", type=at_least(1), default=5, metavar="N", help="score them every N epochs (default 5)")
    add("--train-split", default="train", metavar="NAME")
    add("--val-split", default="val", metavar="NAME")
    add("--without-folds", nargs="*", type=int, default=[], metavar="FOLD", help="folds left out")
    add("--val-folds", nargs="*", type=int, default=[], metavar="FOLD", help="folds that choose the epoch")
    add("--without-glosses", nargs="*", default=[], metavar="GLOSS", help="glosses whose clips are left out")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    add("--precision", choices=["auto", "fp32", "bf16"], default="auto", help="auto: bf16 on a GPU")
    add("--compile", choices=["auto", "yes", "no"], default="auto", help="auto: on one GPU")
    add("--workers", type=at_least(0), help="processes that prepare batches (default: up to 4 for a GPU, else none)")
    add("--tensorboard", action="store_true", help="curves for TensorBoard in OUT/tensorboard")
    add(
        "--chosen-on",
        default="",
        metavar="TEXT",
        help="the clips that chose these settings, for the provenance",
    )
    add("--licence", default="", help="licence of the weights, for their configuration")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 2 after a user's mistake, 130 after Ctrl-C, 143 after SIGTERM."""
    args = _parser().parse_args(arguments)
    with Stop() as stop:
        try:
            return exit_code(lambda: _in_turn(lambda: _run(args, stop)))
        except KeyboardInterrupt:
            if _rank() == 0:
                tell_stopped(args.out)
            return stop.exit_code


def _rank() -> int:
    return int(os.environ.get("RANK", 0))


def _in_turn(work: Callable[[], None]) -> None:
    """Lets one process of several tell what all have met: the launcher ends the others while they wait."""
    try:
        work()
    except (UserError, RuntimeError) as error:
        if _rank() > 0 or (int(os.environ.get("WORLD_SIZE", 1)) > 1 and not isinstance(error, UserError)):
            time.sleep(10)
        raise


def _run(args: argparse.Namespace, stop: Stop) -> None:
    device = own_device(args.device)
    with joined(device) as group:
        precision, compiled = chosen_dtype(args.precision, device), _compiled(args.compile, device, group.size)
        compute = Compute(device, precision, compiled, group, stop, tensorboard=args.tensorboard)
        tasks = training_runs(args, compute)
        first = next(iter(tasks.values()))
        if group.leads:
            print_notes([*first.clips.notes, *_unknown_past(first, args.init), *_unseen_joints(args, first)])
        workers = _workers(args.workers, device)
        if len(tasks) > 1 and device.type == "cuda" and group.size == 1 and _goes_beside(first):
            left = {out: task for out, task in tasks.items() if not finished_network(task, out)}
            runs = [NetworkRun(task, out) for out, task in left.items()]
            train_side_by_side(runs, device, workers, compiled=compute.compiled)
            return
        for out, task in tasks.items():
            fit(task, out, compute, workers, args.select_every, usable=True)


def training_runs(args: argparse.Namespace, compute: Compute) -> dict[Path, TrainingRun]:
    """What is to be trained, by the folder of its checkpoint."""
    config = _config(args)
    reference = isinstance(config, ReferenceConfig)
    choose = args.select or ("val" if reference or _is_benchmark(args) or args.val_folds else "last")
    out_of_it = {
        "without_folds": tuple(args.without_folds),
        "val_folds": tuple(args.val_folds),
        "without_glosses": tuple(args.without_glosses),
    }
    clips = read_training_clips(
        Request(tuple(args.data), choose, args.train_split, args.val_split, seed=config.seed, **out_of_it)
    )
    if not reference:
        clips = replace(clips, train=list(clips.train))
    tasks = {}
    every = args.stream == ALL
    for stream in Stream if every else [Stream(args.stream)]:
        init = args.init / stream if args.init and every else args.init
        begun = _init(init, stream, args, clips) if init else None
        recipe = begun.recipe if begun else Recipe() if reference else SMALL_RECIPE
        made_by = _provenance(args, clips, compute, config, init)
        tasks[args.out / stream if every else args.out] = TrainingRun(clips, stream, config, recipe, begun, made_by)
    return tasks


def _goes_beside(training: TrainingRun) -> bool:
    """Whether networks can be trained side by side: those for small sets, where nothing chooses."""
    config = training.config
    return isinstance(config, TrainConfig) and not config.average and not len(training.clips.val)


def _provenance(
    args: argparse.Namespace, clips: TrainingClips, compute: Compute, config: AnyConfig, init: Path | None
) -> dict[str, Any]:
    begun = {"init": origin(init)} if init else {}
    chosen = {"recipe_selection": args.chosen_on} if args.chosen_on else {}
    left_out = {"without_glosses": sorted(set(args.without_glosses))} if args.without_glosses else {}
    return {
        "datasets": [folder.resolve().name for folder in args.data],
        "without_folds": sorted(set(args.without_folds)),
        "val_folds": sorted(set(args.val_folds)),
        "selection": clips.selection,
        "recipe": "reference" if isinstance(config, ReferenceConfig) else "small",
        "device": torch.cuda.get_device_name(compute.device) if compute.device.type == "cuda" else "cpu",
        "precision": compute.precision,
        "processes": compute.group.size,
        "commit": git_commit(),
        "licence": args.licence,
        **left_out,
        **chosen,
        **begun,
    }


def _config(args: argparse.Namespace) -> AnyConfig:
    """The recipe's configuration with what the user asks for instead."""
    kind = ReferenceConfig if _by_reference(args) else TrainConfig
    given = vars(args)
    given |= {"epochs": args.schedule} if args.epochs is None else {}
    given |= {"schedule": args.epochs} if args.schedule is None else {}
    names = ("epochs", "schedule", "batch_size", "learning_rate", "clip_norm", "per_gloss", "spread", "average", "seed")
    asked = SIZES.get(args.model, {}) | {name: given[name] for name in names if given[name] is not None}
    if args.faithful:
        asked["faithful"] = True
    foreign = sorted(set(asked) - {f.name for f in fields(kind)})
    if foreign:
        name = "reference" if kind is ReferenceConfig else "small"
        raise UserError(f"--{foreign[0].replace('_', '-')} does not belong to the {name} recipe: see --recipe.")
    if args.init and args.model:
        raise UserError("--init brings its own model size: leave --model out.")
    return kind(**asked)


def _is_benchmark(args: argparse.Namespace) -> bool:
    return any(find_spec(folder) for folder in args.data)


def _by_reference(args: argparse.Namespace) -> bool:
    """Whether the reference's recipe is meant. It takes a joint that was not seen for one at (0, 0), and mirrored at
    (512, 0), so by itself it is chosen only for an estimator that always finds all."""
    if args.recipe == "auto" and _is_benchmark(args):
        return all(estimator_of(folder) in FINDS_ALL for folder in args.data)
    return args.recipe == "reference"


def _unseen_joints(args: argparse.Namespace, training: TrainingRun) -> list[str]:
    """What is to be known of joints that were not seen: that they chose the recipe, or what is lost."""
    of, reference = training.clips, isinstance(training.config, ReferenceConfig)
    if of.estimator in FINDS_ALL or not (reference or (args.recipe == "auto" and _is_benchmark(args))):
        return []
    some = [of.train[i].joints for i in range(0, len(of.train), max(1, len(of.train) // 200))]
    some = [seen(joints)[:, LEFT_HAND + RIGHT_HAND] for joints in some]
    share = f"{1 - np.concatenate(some).mean():.0%} of the hands' joints were not seen by {of.estimator}"
    if reference:
        return [f"{share}: this recipe takes them for joints at (0, 0), mirrored at (512, 0). See --recipe small."]
    return [f"{share}: trained by the recipe for small sets, which masks them. See --recipe reference."]


def _init(folder: Path, stream: Stream, args: argparse.Namespace, clips: TrainingClips) -> Checkpoint:
    """The weights to begin from. Raises UserError when they are of another estimator or stream, or have seen the clips
    that choose the epoch or judge the network."""
    init = Checkpoint.load(folder)
    if init.estimator != clips.estimator:
        raise UserError(
            f"{folder} was trained on keypoints of {init.estimator}, but the clips of {args.data[0]} are "
            f"{clips.estimator}'s: begin from weights of the same estimator, or without --init."
        )
    if init.stream != stream:
        raise UserError(f"{folder} holds a network of the stream {init.stream}: give --stream {init.stream}.")
    sets = [path.resolve().name for path in args.data]
    why = saw_folds(folder, init.provenance, sets, {*args.val_folds, *args.without_folds})
    if init.seen and not why:
        why = init.seen.why_not(clips.kept_back, str(folder), choosing=True)
    if why:
        raise UserError(f"{why} Figures on them would not count: begin from other weights, or without --init.")
    return init


def _unknown_past(training: TrainingRun, init: Path) -> list[str]:
    """A note where the weights to begin from do not say what they have seen."""
    if not training.init or (training.init.seen and training.init.seen.whole):
        return []
    return [f"{init} does not say which clips it, or what it began from, was trained on."]


def _compiled(asked: str, device: torch.device, processes: int) -> bool:
    """Whether to compile; several processes stop at each normalisation to talk, so there it gains little."""
    return asked == "yes" or (asked == "auto" and device.type == "cuda" and processes == 1)


def _workers(asked: int | None, device: torch.device) -> int:
    if asked is not None:
        return asked
    return max(1, min(4, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))) if device.type == "cuda" else 0


if __name__ == "__main__":
    sys.exit(main())
