"""From a measured cross-validation to a weights folder: streams, fusion, temperature, threshold, card, manifest.

    python eval/publish.py runs/asl71 --data data/wlasl50 data/asl_everyday --out weights/asl71 --card eval/asl71.md

Fusion weights, temperature and threshold are fitted on the held-out scores of all folds, each set counting the same,
over the joint vocabulary. The card is the template with its figures filled in: those of the whole sets are the rows
that `eval/run_all.py` measured, those of single folds come from the scores that the cross-validation kept.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy.special import softmax

from dsta.checkpoint import ENSEMBLE_FILE, Checkpoint, write_manifest
from dsta.common import UserError, exit_code, replace_file
from dsta.data import Clip, read_clip_set, read_skeletons
from dsta.metrics import calibration_error, figures, fit_fusion, hits, ranks, with_bounds
from dsta.streams import Stream, fuse
from dsta.train.runs import CrossValidation, HeldOut, held_out
from eval.plan import fold_network, networks_sha256
from leaderboard.results import OUT, RESULTS_FILE, STREAMS, Row, key, read_rows, streams_name

ACCEPTED_ACCURACY = 0.8
SHOWN = (*with_bounds("top1_instance"), "top5_instance", "top1_class", "top5_class")


def pooled_scores(run: CrossValidation, clips: Sequence[Clip]) -> HeldOut:
    """The kept scores of all folds, over the joint vocabulary."""
    folds = [held_out(run.networks((fold,)), choice.epoch, clips, fold) for fold, choice in run.choices().items()]
    logits = {stream: np.concatenate([fold.logits[stream] for fold in folds]) for stream in STREAMS}
    names, labels = (np.concatenate([getattr(fold, name) for fold in folds]) for name in ("names", "labels"))
    return HeldOut(names, labels, logits, folds[0].glosses, np.ones(len(names)))


def ensemble(held: HeldOut) -> dict[str, Any]:
    """Fusion weights, temperature and threshold, with what they were fitted on."""
    _, place, count = np.unique(held.sets, return_inverse=True, return_counts=True)
    balance = 1 / count[place]
    fusion, temperature = fit_fusion(held.logits, held.labels, balance)
    fused = fuse(held.logits, fusion) / temperature
    confidence = softmax(fused, axis=1).max(1)
    order = np.argsort(-confidence)
    correct = (hits(fused, held.labels, 1) * balance)[order].cumsum() / balance[order].cumsum()
    enough = np.flatnonzero(correct >= ACCEPTED_ACCURACY)
    last = int(enough[-1]) if len(enough) else 0
    return {
        "fusion": {stream: round(weight, 4) for stream, weight in fusion.items()},
        "temperature": round(temperature, 4),
        "threshold": round(float(confidence[order][last]), 4),
        "fitted_on": "held-out scores of all folds, the sets weighted equally, over the joint vocabulary",
        "threshold_rule": f"lowest score above which {ACCEPTED_ACCURACY:.0%} of the held-out clips are right",
        "coverage": round(float(balance[order][: last + 1].sum() / balance.sum()), 4),
        "ece": round(calibration_error(fused, held.labels), 4),
    }


def measured_rows(run: CrossValidation, data: Sequence[Path], results: Path) -> dict[str, dict[str, Row]]:
    """Set -> system -> the row that was measured with the networks of this run. Raises UserError where one is not."""
    measured = [row for row in read_rows(results / RESULTS_FILE) if row["status"] == "ok"]
    rows = {(key(row), row["weights_sha256"]): row for row in measured}
    folders = {folder.name: folder for folder in sorted(data, key=lambda folder: folder.name)}
    wanted = {name: _keys_of_systems(run, folder) for name, folder in folders.items()}
    try:
        return {name: {system: rows[row] for system, row in of_set.items()} for name, of_set in wanted.items()}
    except KeyError as error:
        names, places = " ".join(folders), " ".join(map(str, folders.values()))
        raise UserError(
            f"{results / RESULTS_FILE} lacks rows that were measured with the networks in {run.folder}: run python "
            f"eval/run_all.py --datasets {names} --data {places} --runs {run.folder} --out {results} first."
        ) from error


def _keys_of_systems(run: CrossValidation, folder: Path) -> dict[str, tuple[tuple[str, ...], str]]:
    """System on the card -> key and weights of its row in the results of a set."""
    clips = read_clip_set(folder)
    folds = np.unique(clips.folds).tolist()
    networks = {stream: [fold_network(run, stream, fold, clips) for fold in folds] for stream in STREAMS}
    fitted = "fitted" if any(choice.inner_fold is not None for choice in run.choices().values()) else "equal"

    def row(streams: Sequence[str], fusion: str) -> tuple[tuple[str, ...], str]:
        sha256 = networks_sha256(network for stream in streams for network in networks[stream])
        return (folder.name, "folds", streams_name(streams), fusion), sha256

    fused = {"fused": row(STREAMS, fitted), "fused, equal weights": row(STREAMS, "equal")}
    return fused | {stream: row([stream], "none") for stream in STREAMS}


def figures_of_folds(run: CrossValidation, clips: Sequence[Clip]) -> dict[str, dict[str, Any]]:
    """System -> figures on each fold of a set, fused as was chosen for it, by the scores that the run kept."""
    found, choices, dataset = {}, run.choices(), clips[0].dataset
    for fold in sorted({clip.fold for clip in clips}):
        held = held_out(run.networks((fold,)), choices[fold].epoch, clips, fold)
        fused = fuse(held.logits, choices[fold].fusion[dataset]) / choices[fold].temperature[dataset]
        found[f"fused, fold {fold}"] = _figures(fused, held.labels, held.names, clips)
    return found


def figures_among_all(run: CrossValidation, clips: Sequence[Clip], dataset: str) -> dict[str, dict[str, Any]]:
    """What a set's clips get where all glosses of the vocabulary may be answered, as the recogniser does, and not the
    set's alone; fused as was chosen for each fold. Nothing where there are no others. clips: of all sets."""
    fused, labels, names, choices = [], [], [], run.choices()
    for fold in sorted({clip.fold for clip in clips if clip.dataset == dataset}):
        held = held_out(run.networks((fold,)), choices[fold].epoch, clips, fold)
        own = held.sets == dataset
        scores = fuse({stream: logits[own] for stream, logits in held.logits.items()}, choices[fold].fusion[dataset])
        fused.append(scores / choices[fold].temperature[dataset])
        labels.append(held.labels[own])
        names.append(held.names[own])
    every = len(held.glosses)
    if every == len({clip.gloss for clip in clips if clip.dataset == dataset}):
        return {}
    whole, right, of = (np.concatenate(parts) for parts in (fused, labels, names))
    return {f"fused, among all {every} glosses": _figures(whole, right, of, clips)}


def _figures(fused: np.ndarray, labels: np.ndarray, names: np.ndarray, clips: Sequence[Clip]) -> dict[str, Any]:
    """Figures of some clips, by their names, with intervals over their sources where several are known."""
    source_of = {f"{clip.dataset}/{clip.name}": clip.source for clip in clips}
    sources = np.array([source_of[name] for name in names])
    known = len(np.unique(sources)) > 1 and (sources != "").all()
    return figures(fused, labels, ranks(fused, labels), sources if known else None)


def figures_table(systems: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Set -> system -> figures as a Markdown table, in percent."""
    lines = [
        "| set | system | clips / glosses | top-1 [95 %] | top-5 | top-1 per class | top-5 per class | ECE |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for dataset, of_set in systems.items():
        for system, row in of_set.items():
            top1, low, high, top5, top1_class, top5_class = (f"{float(row[name]):.1%}" for name in SHOWN)
            lines.append(
                f"| {dataset} | {system} | {row['n']} / {row['num_classes']} | {top1} [{low}, {high}] | {top5} "
                f"| {top1_class} | {top5_class} | {float(row['ece']):.3f} |"
            )
    return "\n".join(lines)


def ensemble_figures(row: Row) -> dict[str, Any]:
    """A measured row as `ensemble.json` has it."""
    counts = {name: int(row[name]) for name in ("n", "num_classes")}
    top1, low, high = (float(row[name]) for name in SHOWN[:3])
    others = {name: float(row[name]) for name in (*SHOWN[3:], "log_loss", "ece")}
    return {**counts, "top1_instance": top1, "top1_instance_95": [low, high], **others}


def hardest_glosses(held: HeldOut, fusion: dict[str, float]) -> str:
    """The ten glosses with the lowest held-out recall among those missed, per set, and what they were taken for."""
    best, sets, lines = fuse(held.logits, fusion).argmax(1), held.sets, []
    for dataset in np.unique(sets):
        rows = []
        for label in np.unique(held.labels[sets == dataset]):
            here = (sets == dataset) & (held.labels == label)
            taken = np.bincount(best[here], minlength=len(held.glosses))
            recall = taken[label] / here.sum()
            taken[label] = 0
            about = f"{recall:.0%} ({here.sum()} clips; most often {held.glosses[taken.argmax()]})"
            rows.append((recall, f"{held.glosses[label]} {about}"))
        missed = sorted(row for row in rows if row[0] < 1)
        lines.append(f"- `{dataset}`: " + ", ".join(text for _, text in missed[:10]))
    return "\n".join(lines)


def publish(folder: Path, data: Sequence[Path], out: Path, card: Path, results: Path) -> None:
    """Writes the weights folder and the manifest beside it."""
    run = CrossValidation(folder)
    measured = measured_rows(run, data, results)
    clips = [clip for place in data for clip in read_skeletons(place)]
    held = pooled_scores(run, clips)
    own = {dataset: [clip for clip in clips if clip.dataset == dataset] for dataset in measured}
    among = {dataset: figures_among_all(run, clips, dataset) for dataset in measured}
    systems = {
        dataset: {**rows, **among[dataset], **figures_of_folds(run, own[dataset])} for dataset, rows in measured.items()
    }
    figures_in_json = {dataset: ensemble_figures(rows["fused"]) for dataset, rows in measured.items()}
    for dataset, wider in among.items():
        for row in wider.values():
            figures_in_json[dataset]["among_all_glosses"] = ensemble_figures(row)
    fitted = ensemble(held) | {"figures": figures_in_json}
    for stream in Stream:
        Checkpoint.load(run.network((), stream)).save(out / stream)
    replace_file(out / ENSEMBLE_FILE, (json.dumps(fitted, indent=1) + "\n").encode())
    text = Template(card.read_text(encoding="utf-8")).substitute(
        figures=figures_table(systems),
        hardest=hardest_glosses(held, fitted["fusion"]),
        fusion=", ".join(f"{stream} {weight:.2f}" for stream, weight in fitted["fusion"].items()),
        temperature=f"{fitted['temperature']:.2f}",
        threshold=f"{fitted['threshold']:.2f}",
        accuracy=f"{ACCEPTED_ACCURACY:.0%}",
        coverage=f"{fitted['coverage']:.0%}",
        glosses=", ".join(held.glosses),
    )
    replace_file(out / "README.md", text.encode())
    write_manifest(out.parent)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python eval/publish.py", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the folder that eval/crossval.py filled")
    parser.add_argument("--data", nargs="+", required=True, type=Path, metavar="DIR", help="the same sets")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--card", required=True, type=Path, metavar="FILE", help="template of the card")
    parser.add_argument("--results", type=Path, default=OUT, metavar="DIR", help="default: leaderboard/results")
    args = parser.parse_args(arguments)
    return exit_code(lambda: publish(args.run, args.data, args.out, args.card, args.results))


if __name__ == "__main__":
    sys.exit(main())
