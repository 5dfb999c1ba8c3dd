"""From a finished cross-validation to a weights folder: streams, fusion, temperature, threshold, card, manifest.

    python eval/publish.py runs/asl71 --data data/wlasl50 data/asl_everyday --out weights/asl71 --card eval/asl71.md

Fusion weights, temperature and threshold are fitted on the held-out scores of all folds, each set counting the same,
over the joint vocabulary. The card is the template with its figures filled in from `report.json`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy.special import softmax

from dsta.checkpoint import Checkpoint, write_manifest
from dsta.common import exit_code, read_json, replace_file
from dsta.data import Clip, read_skeletons
from dsta.metrics import calibration_error, fit_fusion, hits
from dsta.streams import Stream, fuse

ACCEPTED_ACCURACY = 0.8


def pooled_scores(run: Path, clips: dict[str, Clip], vocabulary: list[str]) -> tuple[dict, np.ndarray, np.ndarray]:
    """Held-out logits {stream: (N, K)} of all folds over the joint vocabulary, labels (N,), set of each clip (N,)."""
    chosen = read_json(run / "chosen.json")
    scores: dict[str, list[np.ndarray]] = {stream: [] for stream in Stream}
    names: list[str] = []
    for fold, choice in sorted(chosen.items()):
        for stream in Stream:
            with np.load(run / f"fold{fold}" / stream / "scores.npz") as saved:
                scores[stream].append(saved[f"epoch{choice['epoch']}"])
                fold_names = saved["names"].tolist()
        names += fold_names
    labels = np.array([vocabulary.index(clips[name].gloss) for name in names])
    sets = np.array([clips[name].dataset for name in names])
    return {str(stream): np.concatenate(parts) for stream, parts in scores.items()}, labels, sets


def ensemble(scores: dict[str, np.ndarray], labels: np.ndarray, sets: np.ndarray) -> dict[str, Any]:
    """Fusion weights, temperature and threshold, with what they were fitted on."""
    balance = np.zeros(len(labels))
    for dataset in np.unique(sets):
        balance[sets == dataset] = 1 / (sets == dataset).sum()
    fusion, temperature = fit_fusion(scores, labels, balance)
    fused = fuse(scores, fusion) / temperature
    confidence = softmax(fused, axis=1).max(1)
    order = np.argsort(-confidence)
    correct = (hits(fused, labels, 1) * balance)[order].cumsum() / balance[order].cumsum()
    enough = np.flatnonzero(correct >= ACCEPTED_ACCURACY)
    last = int(enough[-1]) if len(enough) else 0
    return {
        "fusion": {stream: round(weight, 4) for stream, weight in fusion.items()},
        "temperature": round(temperature, 4),
        "threshold": round(float(confidence[order][last]), 4),
        "fitted_on": "held-out scores of all folds, the sets weighted equally, over the joint vocabulary",
        "threshold_rule": f"lowest score above which {ACCEPTED_ACCURACY:.0%} of the held-out clips are right",
        "coverage": round(float(balance[order][: last + 1].sum() / balance.sum()), 4),
        "ece": round(calibration_error(fused, labels), 4),
    }


def figures_table(report: dict[str, Any]) -> str:
    """The report's figures as a Markdown table, in percent."""
    lines = [
        "| set | system | clips / glosses | top-1 [95 %] | top-5 | top-1 per class | top-5 per class | ECE |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for dataset, result in report.items():
        rows = {**result["pooled"], **{f"fused, fold {fold}": row for fold, row in result["folds"].items()}}
        for system, row in rows.items():
            low, high = row["top1_instance_95"]
            lines.append(
                f"| {dataset} | {system} | {row['n']} / {row['num_classes']} | {row['top1_instance']:.1%} "
                f"[{low:.1%}, {high:.1%}] | {row['top5_instance']:.1%} | {row['top1_class']:.1%} "
                f"| {row['top5_class']:.1%} | {row['ece']:.3f} |"
            )
    return "\n".join(lines)


def hardest_glosses(
    scores: dict[str, np.ndarray], labels: np.ndarray, sets: np.ndarray, fusion: dict[str, float], glosses: list[str]
) -> str:
    """The ten glosses with the lowest held-out recall among those missed, per set, and what they were taken for."""
    best = fuse(scores, fusion).argmax(1)
    lines = []
    for dataset in np.unique(sets):
        rows = []
        for label in np.unique(labels[sets == dataset]):
            here = (sets == dataset) & (labels == label)
            taken = np.bincount(best[here], minlength=len(glosses))
            recall = taken[label] / here.sum()
            taken[label] = 0
            if recall < 1:
                instead = glosses[taken.argmax()]
                rows.append((recall, f"{glosses[label]} {recall:.0%} ({here.sum()} clips; most often {instead})"))
        lines.append(f"- `{dataset}`: " + ", ".join(text for _, text in sorted(rows)[:10]))
    return "\n".join(lines)


def publish(run: Path, data: Sequence[Path], out: Path, card: Path) -> None:
    """Writes the weights folder and the manifest beside it."""
    clips = {f"{clip.dataset}/{clip.name}": clip for folder in data for clip in read_skeletons(folder)}
    vocabulary = sorted({clip.gloss for clip in clips.values()})
    report = read_json(run / "report.json")
    scores, labels, sets = pooled_scores(run, clips, vocabulary)
    fitted = ensemble(scores, labels, sets)
    fitted["figures"] = {dataset: result["pooled"]["fused"] for dataset, result in report.items()}
    for stream in Stream:
        Checkpoint.load(run / "all" / stream).save(out / stream)
    replace_file(out / "ensemble.json", (json.dumps(fitted, indent=1) + "\n").encode())
    text = Template(card.read_text(encoding="utf-8")).substitute(
        figures=figures_table(report),
        hardest=hardest_glosses(scores, labels, sets, fitted["fusion"], vocabulary),
        fusion=", ".join(f"{stream} {weight:.2f}" for stream, weight in fitted["fusion"].items()),
        temperature=f"{fitted['temperature']:.2f}",
        threshold=f"{fitted['threshold']:.2f}",
        accuracy=f"{ACCEPTED_ACCURACY:.0%}",
        coverage=f"{fitted['coverage']:.0%}",
        glosses=", ".join(vocabulary),
    )
    replace_file(out / "README.md", text.encode())
    write_manifest(out.parent)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python eval/publish.py", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the folder that eval/crossval.py filled")
    parser.add_argument("--data", nargs="+", required=True, type=Path, metavar="DIR", help="the same sets")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--card", required=True, type=Path, metavar="FILE", help="template of the card")
    args = parser.parse_args(arguments)
    return exit_code(lambda: publish(args.run, args.data, args.out, args.card))


if __name__ == "__main__":
    sys.exit(main())
