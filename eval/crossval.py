"""Cross-validation of skeleton sets: train without a fold, choose inside the other folds, score on the fold.

    python eval/crossval.py --data data/asl_everyday data/WLASL100 --out runs/asl118

Folds come in pairs (0, 1), (2, 3). Networks trained without a pair are the judges inside it: what they score on fold 1
chooses epoch, balance, fusion weights and temperature for fold 0, and the other way round; with fewer than four folds,
an odd number, or `--last`, nothing is chosen. Then networks are trained without one fold each and score that fold once.
Last, networks are trained on all folds. Finished networks are kept: a killed run goes on. `eval/run_all.py` then
measures, and `eval/publish.py` makes a weights folder.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from dsta.checkpoint import CONFIG_FILE
from dsta.common import UserError, at_least, exit_code, file_sha256, read_json
from dsta.common.device import chosen_device
from dsta.common.machine import cores
from dsta.data import Clip, read_clip_set
from dsta.data.clips import fingerprints
from dsta.data.overlap import in_another_group
from dsta.metrics import fit_fusion, log_loss, topk
from dsta.model import ModelConfig
from dsta.streams import Stream, fuse
from dsta.train import TrainConfig
from dsta.train.folds import FoldRun, fold_clips, judged_epochs, train_fold_networks
from dsta.train.runs import Choice, CrossValidation, HeldOut, held_out
from dsta.train.sampling import sampling_share
from dsta.train.splits import print_notes

BALANCES = tuple(round(0.1 * i, 1) for i in range(11))


@dataclass(frozen=True)
class CrossvalRequest:
    """What a user asks for.

    last: nothing is chosen, and no networks are trained for it. init: a finished run with whose networks these begin,
    or a weights folder of other sets, of which all but the classifier stays.
    """

    data: tuple[Path, ...]
    out: Path
    config: TrainConfig
    last: bool = False
    init: Path | None = None


def choose_on(inner: int, pair: tuple[int, int], request: CrossvalRequest, clips: Sequence[Clip]) -> Choice:
    """What does best on the fold `inner` of a pair, by the networks that saw neither: the choice for the other fold."""
    networks, config = CrossValidation(request.out).networks(pair), request.config
    sets = {name: [clip for clip in clips if clip.dataset == name] for name in _folded_sets(clips)}

    def accuracy(epoch: int) -> float:
        """Mean of the sets' top-1 with equal weights."""
        scored = [held_out(networks, epoch, own, inner) for own in sets.values()]
        fused = [fuse(each.logits, dict.fromkeys(networks, 1.0)) for each in scored]
        return float(np.mean([topk(f, each.labels, 1).instance for f, each in zip(fused, scored, strict=True)]))

    epoch = max(judged_epochs(config), key=lambda epoch: (accuracy(epoch), epoch))
    held = {name: held_out(networks, epoch, own, inner) for name, own in sets.items()}
    fitted = {name: fit_fusion(each.logits, each.labels, each.stands_for) for name, each in held.items()}
    fusion, temperature = {name: fit[0] for name, fit in fitted.items()}, {name: fit[1] for name, fit in fitted.items()}
    vocabulary, seen = sorted({clip.gloss for clip in clips}), [clip for clip in clips if clip.fold not in pair]
    shares = np.log(sampling_share(seen, config.per_gloss, config.spread, vocabulary))
    losses = np.zeros(len(BALANCES))
    for name, each in held.items():
        own = shares[[vocabulary.index(gloss) for gloss in each.glosses]]
        fused = fuse(each.logits, fusion[name])
        losses += [balanced_loss((fused - balance * own) / temperature[name], each) for balance in BALANCES]
    return Choice(epoch, inner, BALANCES[int(losses.argmin())], fusion, temperature)


def balanced_loss(scores: np.ndarray, held: HeldOut) -> float:
    """Mean of the log-loss over clips and the log-loss over glosses: both kinds of accuracy count alike."""
    rare = 1 / np.bincount(held.labels)[held.labels]
    return (log_loss(scores, held.labels, held.stands_for) + log_loss(scores, held.labels, rare)) / 2


def default_choice(clips: Sequence[Clip], config: TrainConfig) -> Choice:
    """The last epoch and equal weights: what is used where no fold is left to choose on."""
    sets = _folded_sets(clips)
    fusion = {name: {str(stream): 1 / len(Stream) for stream in Stream} for name in sets}
    return Choice(config.schedule, fusion=fusion, temperature=dict.fromkeys(sets, 1.0))


def _folded_sets(clips: Sequence[Clip]) -> list[str]:
    """The sets that have folds; of another the training split is always trained on."""
    return sorted({clip.dataset for clip in clips if clip.fold >= 0})


def fold_pairs(clips: Sequence[Clip], last: bool) -> tuple[list[int], list[tuple[int, int]]]:
    """The folds, and the pairs in which they choose for each other; without a second fold to leave out there is none.

    Raises UserError for a single fold.
    """
    folds = sorted({clip.fold for clip in clips} - {-1})
    if len(folds) < 2:
        raise UserError("Cross-validation needs at least two folds: see the column fold of index.csv.")
    if last or len(folds) < 4 or len(folds) % 2:
        return folds, []
    return folds, list(zip(folds[::2], folds[1::2], strict=True))


def crossvalidate(request: CrossvalRequest, workers: int, only: str | None = None, device: str = "cpu") -> None:
    """Trains, chooses and scores into the folder asked for.

    only: "inner" and "outer" stop after that part; "all" trains on all folds and does nothing else. device: `cpu`, with
    so many workers, or a GPU for all networks at once.
    """
    request = replace(request, last=request.last or only == "all")
    clips = fold_clips(request.data)
    folds, pairs = fold_pairs(clips, request.last)
    ModelConfig(1, inner_dim=request.config.inner_dim)  # a size that cannot be is told before anything is written
    shared = int(in_another_group(fingerprints(clips), [clip.fold for clip in clips]).sum())
    if shared and only != "all":
        what = f"{shared} of {len(clips)} clips are in another fold too, or nearly the same recording"
        print_notes([f"{what}: networks that score them are trained without them."])
    run = CrossValidation(request.out)
    run.begin(_made_of(request))
    if only == "all":
        train_fold_networks(_fold_runs(request, (), request.config, "last epoch"), workers, device)
        return
    inner = [fold_run for pair in pairs for fold_run in _fold_runs(request, pair, request.config, "last epoch")]
    train_fold_networks(inner, workers, device)
    choices = dict.fromkeys(folds, default_choice(clips, request.config))
    for pair in pairs:
        for fold, judging in (pair, pair[::-1]):
            choices[fold] = choose_on(judging, pair, request, clips)
    run.write_choices(choices)
    if only == "inner":
        return
    selection = "epoch chosen on an inner fold" if pairs else "last epoch"
    configs = {fold: chosen_config(request.config, [choices[fold]]) for fold in folds}
    outer = [fold_run for fold in folds for fold_run in _fold_runs(request, (fold,), configs[fold], selection)]
    of_all = _fold_runs(request, (), chosen_config(request.config, list(choices.values())), selection)
    train_fold_networks(outer if only == "outer" else outer + of_all, workers, device)


def _fold_runs(
    request: CrossvalRequest, without: tuple[int, ...], config: TrainConfig, selection: str
) -> list[FoldRun]:
    """The network of each stream that does not see some folds."""
    run, data = CrossValidation(request.out), request.data
    return [
        FoldRun(s, without, run.network(without, s), data, config, selection, _begins_from(request, without, s))
        for s in Stream
    ]


def _begins_from(request: CrossvalRequest, without: tuple[int, ...], stream: Stream) -> Path | None:
    """The folder of the network from which one begins: that of the same folds in a run, or of a weights folder."""
    if request.init is None:
        return None
    same = CrossValidation(request.init).network(without, stream)
    return same if same.parent.is_dir() else request.init / stream


def _made_of(request: CrossvalRequest) -> dict[str, object]:
    """What makes a run: networks of other data or settings are not mixed with it."""
    sets, init = request.data, request.init
    return {
        "data": {folder.name: [file_sha256(path) for path in read_clip_set(folder, "train").files] for folder in sets},
        "config": asdict(request.config),
        "last": request.last,
        "init": sorted(read_json(path)["weights_sha256"] for path in init.rglob(CONFIG_FILE)) if init else None,
    }


def chosen_config(config: TrainConfig, choices: Sequence[Choice]) -> TrainConfig:
    """The configuration with the chosen epoch and balance; of several choices the mean."""
    epochs, balance = (float(np.mean([getattr(choice, name) for choice in choices])) for name in ("epoch", "balance"))
    return replace(config, epochs=round(epochs), balance=round(balance, 4))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python eval/crossval.py", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add(
        "--data",
        nargs="+",
        required=True,
        type=Path,
        metavar="DIR",
        help="skeleton sets with folds, and others, joined",
    )
    add("--out", required=True, type=Path, metavar="DIR", help="networks, their scores, what was chosen")
    add("--schedule", type=int, default=60, help="epochs of the learning rate's fall")
    add("--per-gloss", type=float, help="clips of a gloss in an epoch, instead of the recipe's")
    add("--init", type=Path, metavar="DIR", help="begin from a run of these folds, or weights of other sets")
    add("--learning-rate", type=float, help="its peak, instead of the recipe's")
    add("--batch-size", type=at_least(1), help="instead of the recipe's")
    add("--last", action="store_true", help="choose nothing: the last epoch, equal weights")
    add("--inner-dim", type=at_least(1), help="channels of the first block, instead of the recipe's")
    add("--device", default="auto", help="cpu, or a GPU, which trains all networks at once")
    add("--workers", type=at_least(1), default=cores(), help="processes; by default one a core")
    only = "stop after this part; all: train on all folds and do nothing else, into an --out of its own"
    add("--only", choices=["inner", "outer", "all"], help=only)
    args = parser.parse_args(arguments)

    def work() -> None:
        if args.init and args.inner_dim:
            raise UserError("--init brings its own model size: leave --inner-dim out.")
        names = ("per_gloss", "learning_rate", "batch_size", "inner_dim")
        asked = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
        config = replace(TrainConfig(args.schedule, args.schedule), **asked)
        request = CrossvalRequest(tuple(args.data), args.out, config, args.last, args.init)
        crossvalidate(request, args.workers, args.only, chosen_device(args.device))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
