"""Cross-validation of skeleton sets: train without a fold, choose inside the other folds, score on the fold.

    python eval/crossval.py --data data/wlasl50 data/asl_everyday --out runs/asl71

Folds come in pairs (0, 1), (2, 3). Networks trained without a pair are the judges inside it: what they score on fold 1
chooses epoch, balance, fusion weights and temperature for fold 0, and the other way round; with fewer than four folds,
an odd number, or `--last`, nothing is chosen. Then networks are trained without one fold each and score that fold once.
Each set is scored within its own glosses. Last, networks are trained on all folds. Finished networks are kept: a killed
run goes on.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from dsta.checkpoint import CONFIG_FILE
from dsta.common import UserError, at_least, exit_code, file_sha256, read_json, replace_file
from dsta.common.device import chosen_device
from dsta.common.machine import cores
from dsta.data import Clip, read_skeletons
from dsta.metrics import calibration_error, fit_fusion, hits, log_loss, topk, wilson
from dsta.model import ModelConfig
from dsta.streams import Stream, fuse
from dsta.train import TrainConfig
from dsta.train.folds import FoldRun, judged_epochs, train_fold_networks
from dsta.train.sampling import sampling_share

BALANCES = tuple(round(0.1 * i, 1) for i in range(11))


def _begin(init: Path | None, folder: str, stream: Stream) -> Path | None:
    """Where the network of `folder` finds what it begins from: in a run of the same folds, or in a weights folder."""
    return init and (init / folder if (init / folder).is_dir() else init) / stream


@dataclass(frozen=True)
class HeldOut:
    """Held-out clips of one set with the logits of each stream, within the set's own glosses.

    stands_for: how many of the fold's clips each one stands for, where only some of a gloss and source were scored.
    """

    labels: np.ndarray
    logits: dict[str, np.ndarray]
    glosses: list[str]
    stands_for: np.ndarray


def held_out(
    folders: dict[str, Path], epoch: int, clips: dict[str, Clip], dataset: str, fold: int, vocabulary: list[str]
) -> HeldOut:
    """What the networks in `folders` (stream -> folder) say of a set's clips of a fold, within the set's glosses."""
    own = sorted({clip.gloss for clip in clips.values() if clip.dataset == dataset})
    columns = [vocabulary.index(gloss) for gloss in own]
    by_stream, labels = {}, np.array([], int)
    for stream, folder in folders.items():
        with np.load(folder / "scores.npz") as saved:
            names, scores = saved["names"], saved[f"epoch{epoch}"]
        chosen = [i for i, n in enumerate(names) if (clips[n].dataset, clips[n].fold) == (dataset, fold)]
        labels = np.array([own.index(clips[names[i]].gloss) for i in chosen])
        by_stream[stream] = scores[chosen][:, columns]
    groups = [(clips[names[i]].gloss, clips[names[i]].source) for i in chosen]
    whole = Counter((c.gloss, c.source) for c in clips.values() if (c.dataset, c.fold) == (dataset, fold))
    scored = Counter(groups)
    return HeldOut(labels, by_stream, own, np.array([whole[group] / scored[group] for group in groups]))


def choose_inside(
    folders: dict[str, Path], pair: tuple[int, int], clips: dict[str, Clip], config: TrainConfig
) -> dict[str, Any]:
    """What does best on the inner fold, `pair[1]`: epoch and balance, and per set fusion weights and temperature."""
    datasets = sorted({clip.dataset for clip in clips.values()})
    vocabulary = sorted({clip.gloss for clip in clips.values()})
    equal = dict.fromkeys(folders, 1.0)
    best, best_accuracy = config.schedule, -1.0
    for epoch in judged_epochs(config):
        held = [held_out(folders, epoch, clips, dataset, pair[1], vocabulary) for dataset in datasets]
        accuracy = float(np.mean([topk(fuse(h.logits, equal), h.labels, 1).instance for h in held]))
        if accuracy >= best_accuracy:
            best, best_accuracy = epoch, accuracy
    chosen: dict[str, Any] = {"epoch": best, "inner_fold": pair[1], "balance": 0.0, "fusion": {}, "temperature": {}}
    seen = [clip for clip in clips.values() if clip.fold not in pair]
    shares = sampling_share(seen, config.per_gloss, config.spread, vocabulary)
    share = dict(zip(vocabulary, np.log(shares), strict=True))
    losses = np.zeros(len(BALANCES))
    for dataset in datasets:
        held = held_out(folders, best, clips, dataset, pair[1], vocabulary)
        weights, temperature = fit_fusion(held.logits, held.labels, held.stands_for)
        chosen["fusion"][dataset], chosen["temperature"][dataset] = weights, temperature
        own = np.array([share[gloss] for gloss in held.glosses])
        fused = fuse(held.logits, weights)
        losses += [balanced_loss((fused - balance * own) / temperature, held) for balance in BALANCES]
    chosen["balance"] = BALANCES[int(losses.argmin())]
    return chosen


def balanced_loss(scores: np.ndarray, held: HeldOut) -> float:
    """Mean of the log-loss over clips and the log-loss over glosses: both kinds of accuracy count alike."""
    rare = 1 / np.bincount(held.labels)[held.labels]
    return (log_loss(scores, held.labels, held.stands_for) + log_loss(scores, held.labels, rare)) / 2


def default_choice(clips: dict[str, Clip], config: TrainConfig) -> dict[str, Any]:
    """The last epoch and equal weights: what is used where no fold is left to choose on."""
    datasets = sorted({clip.dataset for clip in clips.values()})
    return {
        "epoch": config.schedule,
        "inner_fold": None,
        "balance": 0.0,
        "fusion": {dataset: {str(stream): 1 / len(Stream) for stream in Stream} for dataset in datasets},
        "temperature": dict.fromkeys(datasets, 1.0),
    }


def figures(scores: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Accuracies with intervals, log-loss and calibration of held-out logits (N, K)."""
    top1, top5 = topk(scores, labels, 1), topk(scores, labels, 5)
    return {
        "n": len(labels),
        "num_classes": top1.num_classes,
        "top1_instance": top1.instance,
        "top1_instance_95": wilson(int(hits(scores, labels, 1).sum()), len(labels)),
        "top5_instance": top5.instance,
        "top1_class": top1.per_class,
        "top5_class": top5.per_class,
        "log_loss": log_loss(scores, labels),
        "ece": calibration_error(scores, labels),
    }


def report(out: Path, clips: dict[str, Clip], chosen: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Figures of every set: pooled over the folds and for each, fused as chosen inside, and for each stream alone."""
    vocabulary = sorted({clip.gloss for clip in clips.values()})
    result: dict[str, Any] = {}
    for dataset in sorted({clip.dataset for clip in clips.values()}):
        pooled: dict[str, list[np.ndarray]] = {}
        labels, per_fold = [], {}
        for fold, choice in sorted(chosen.items()):
            folders = {str(stream): out / f"fold{fold}" / stream for stream in Stream}
            held = held_out(folders, choice["epoch"], clips, dataset, fold, vocabulary)
            fused = fuse(held.logits, choice["fusion"][dataset]) / choice["temperature"][dataset]
            per_fold[fold] = figures(fused, held.labels)
            labels.append(held.labels)
            for name, scores in {
                "fused": fused,
                "fused, equal weights": fuse(held.logits, dict.fromkeys(held.logits, 1.0)),
                **held.logits,
            }.items():
                pooled.setdefault(name, []).append(scores)
        result[dataset] = {
            "pooled": {name: figures(np.concatenate(s), np.concatenate(labels)) for name, s in pooled.items()},
            "folds": per_fold,
        }
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python eval/crossval.py", description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", required=True, type=Path, metavar="DIR", help="skeleton sets, joined")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="networks, scores and report.json")
    parser.add_argument("--schedule", type=int, default=60, help="epochs of the learning rate's fall")
    parser.add_argument("--per-gloss", type=float, help="clips of a gloss in an epoch, instead of the recipe's")
    parser.add_argument(
        "--init", type=Path, metavar="DIR", help="begin from a run of these folds, or weights of other sets"
    )
    parser.add_argument("--learning-rate", type=float, help="its peak, instead of the recipe's")
    parser.add_argument("--last", action="store_true", help="choose nothing: the last epoch, equal weights")
    parser.add_argument("--inner-dim", type=at_least(1), help="channels of the first block, instead of the recipe's")
    parser.add_argument("--device", default="auto", help="cpu, or a GPU, which trains all networks at once")
    parser.add_argument("--workers", type=at_least(1), default=cores(), help="processes; by default one a core")
    parser.add_argument(
        "--only",
        choices=["inner", "outer", "all"],
        help="stop after this part; all: train on all folds and do nothing else, into an --out of its own",
    )
    args = parser.parse_args(arguments)

    def work() -> None:
        if args.init and args.inner_dim:
            raise UserError("--init brings its own model size: leave --inner-dim out.")
        config = TrainConfig(args.schedule, args.schedule)
        asked = {name: getattr(args, name) for name in ("per_gloss", "learning_rate", "inner_dim")}
        config = replace(config, **{name: value for name, value in asked.items() if value is not None})
        device = chosen_device(args.device)
        crossvalidate(args.data, args.out, config, args.workers, args.only, args.last, args.init, device)

    return exit_code(work)


def crossvalidate(
    data: Sequence[Path],
    out: Path,
    config: TrainConfig,
    workers: int,
    only: str | None = None,
    last: bool = False,
    init: Path | None = None,
    device: str = "cpu",
) -> None:
    """Trains, chooses, scores and reports into `out`.

    only: "inner" and "outer" stop after that part; "all" trains on all folds and does nothing else. last: nothing is
    chosen, and no networks are trained for it. init: a finished run with whose networks these begin, or a weights
    folder of other sets, of which all but the classifier stays. device: `cpu`, or a GPU for all networks at once.
    """
    every = [clip for folder in data for clip in read_skeletons(folder)]
    clips = {f"{clip.dataset}/{clip.name}": clip for clip in every}
    folds = sorted({clip.fold for clip in every})
    if len(folds) < 2:
        raise UserError("Cross-validation needs at least two folds: see the column fold of index.csv.")

    # Without a second fold to be left out, there is none that could choose: then nothing is chosen.
    last = last or only == "all"
    paired = len(folds) in range(4, 99, 2) and not last
    pairs = [tuple(folds[i : i + 2]) for i in range(0, len(folds), 2)] if paired else []

    def jobs(folder: str, without: tuple[int, ...], config: TrainConfig, inner: bool = False) -> list[FoldRun]:
        selection = "epoch chosen on an inner fold" if pairs and not inner else "last epoch"
        return [
            FoldRun(s, without, out / folder / s, tuple(data), config, inner, selection, _begin(init, folder, s))
            for s in Stream
        ]

    ModelConfig(1, inner_dim=config.inner_dim)  # a size that cannot be is told before anything is written
    _begin_run(out, data, config, last, init)
    if only == "all":
        train_fold_networks(jobs("all", (), config), workers, device)
        return
    train_fold_networks(
        [job for p in pairs for job in jobs("without{}{}".format(*p), p, config, True)], workers, device
    )
    chosen = {fold: default_choice(clips, config) for fold in folds}
    for pair in pairs:
        folders = {str(stream): out / "without{}{}".format(*pair) / stream for stream in Stream}
        for fold, judge in (pair, pair[::-1]):
            chosen[fold] = choose_inside(folders, (fold, judge), clips, config)
    replace_file(out / "chosen.json", json.dumps(chosen, indent=1).encode())
    if only == "inner":
        return
    outer = [job for f in folds for job in jobs(f"fold{f}", (f,), chosen_config(config, [chosen[f]]))]
    of_all = [] if only == "outer" else jobs("all", (), chosen_config(config, list(chosen.values())))
    train_fold_networks(
        outer if device == "cpu" else outer + of_all, workers, device
    )  # a GPU has room for both at once
    replace_file(out / "report.json", json.dumps(report(out, clips, chosen), indent=1).encode())
    train_fold_networks(of_all, workers, device)


def _begin_run(out: Path, data: Sequence[Path], config: TrainConfig, last: bool, init: Path | None) -> None:
    """Writes down what makes this run. Raises UserError when `out` has networks of another one: they would be mixed."""
    run = {
        "data": {folder.name: [file_sha256(folder / name) for name in ("index.csv", "clips.npz")] for folder in data},
        "config": asdict(config),
        "last": last,
        "init": sorted(read_json(path)["weights_sha256"] for path in init.rglob(CONFIG_FILE)) if init else None,
    }
    path = out / "run.json"
    if path.exists() and read_json(path) != run:
        raise UserError(f"{out} holds a cross-validation of other data or settings: give another --out, or delete it.")
    out.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(run, indent=1).encode())


def chosen_config(config: TrainConfig, choices: Sequence[dict[str, Any]]) -> TrainConfig:
    """The configuration with the chosen epoch and balance; of several choices the mean."""
    epochs, balance = (float(np.mean([choice[name] for choice in choices])) for name in ("epoch", "balance"))
    return replace(config, epochs=round(epochs), balance=round(balance, 4))


if __name__ == "__main__":
    sys.exit(main())
