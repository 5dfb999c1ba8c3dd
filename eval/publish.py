"""From measured networks to a weights folder: streams, fusion, temperature, threshold, certainty, card, manifest.

    python eval/publish.py runs/asl118 --data data/asl_everyday data/WLASL100 --out weights/asl118 --card eval/asl118.md
    python eval/publish.py weights/WLASL100 --data data/WLASL100 --out weights/WLASL100 --card eval/WLASL100.md

Of a cross-validation, fusion weights, temperature and threshold are fitted on the held-out scores of all folds, each
set counting the same, over the joint vocabulary, and on the validation clips of a benchmark that was joined; of a
benchmark's networks, on its validation clips. On the same clips is measured what a score means (`eval/certainty.py`).
The card is the template with its figures filled in: those of whole sets are the rows that `eval/run_all.py` measured,
those of single folds come from the scores that the cross-validation kept.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy.special import softmax

from dsta.checkpoint import ENSEMBLE_FILE, Checkpoint, FamiliarSigns, write_manifest
from dsta.common import exit_code, read_json, replace_file
from dsta.metrics import calibration_error, fit_fusion, hits, with_bounds
from dsta.streams import fuse
from dsta.train.runs import HeldOut
from eval.certainty import certainty, set_balance
from eval.familiar import PASSED, background_clips, familiar_signs
from eval.material import Material, material_of
from leaderboard.results import OUT

ACCEPTED_ACCURACY = 0.8
SHOWN = (*with_bounds("top1_instance"), "top5_instance", "top1_class", "top5_class")


def ensemble(held: HeldOut, fitted_on: str, known_people: np.ndarray) -> dict[str, Any]:
    """Fusion weights, temperature, threshold and what a score means, with what they were fitted on."""
    balance = set_balance(held)
    fusion, temperature = fit_fusion(held.logits, held.labels, balance)
    fused = fuse(held.logits, fusion) / temperature
    confidence = softmax(fused, axis=1).max(1)
    order = np.argsort(-confidence)
    correct = (hits(fused, held.labels, 1) * balance)[order].cumsum() / balance[order].cumsum()
    enough = np.flatnonzero(correct >= ACCEPTED_ACCURACY)
    last = int(enough[-1]) if len(enough) else 0
    rounded = {stream: round(weight, 4) for stream, weight in fusion.items()}
    return {
        "fusion": rounded,
        "temperature": round(temperature, 4),
        "threshold": round(float(confidence[order][last]), 4),
        "fitted_on": fitted_on,
        "threshold_rule": f"lowest score above which {ACCEPTED_ACCURACY:.0%} of these clips are right",
        "coverage": round(float(balance[order][: last + 1].sum() / balance.sum()), 4),
        "ece": round(calibration_error(fused, held.labels), 4),
        "certainty": certainty(held, known_people, rounded, round(temperature, 4)),
    }


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


def ensemble_figures(row: Mapping[str, Any]) -> dict[str, Any]:
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


@dataclass(frozen=True)
class Background:
    """Signs outside the vocabulary: a data set, and glosses of it that are left out."""

    folder: Path
    without: tuple[str, ...] = ()


def publish(
    folder: Path, data: Sequence[Path], out: Path, card: Path, results: Path, background: Background | None = None
) -> None:
    """Writes the weights folder and the manifest beside it. background: by which unknown signs are told."""
    found = material_of(folder, data, results)
    fitted = ensemble(found.held, found.fitted_on, found.known_people)
    fitted["figures"] = {name: ensemble_figures(row) for name, row in found.headline.items()}
    for name, row in found.among_all.items():
        fitted["figures"][name]["among_all_glosses"] = ensemble_figures(row)
    systems = dict(found.systems)
    for split in found.beside:
        systems[f"{split.dataset} {split.protocol}"] = split.figures(fitted["fusion"], fitted["temperature"])
    text = Template(card.read_text(encoding="utf-8")).substitute(
        figures=figures_table(systems),
        hardest=hardest_glosses(found.held, fitted["fusion"]),
        fusion=", ".join(f"{stream} {weight:.2f}" for stream, weight in fitted["fusion"].items()),
        temperature=f"{fitted['temperature']:.2f}",
        threshold=f"{fitted['threshold']:.2f}",
        accuracy=f"{ACCEPTED_ACCURACY:.0%}",
        coverage=f"{fitted['coverage']:.0%}",
        glosses=", ".join(found.held.glosses),
    )
    signs = _familiar(found, fitted, background) if background else None
    for stream, network in found.networks.items():
        Checkpoint.load(network).save(out / stream)
    if signs:
        signs.save(out)
    replace_file(out / ENSEMBLE_FILE, (json.dumps(fitted, indent=1) + "\n").encode())
    replace_file(out / "README.md", text.encode())
    write_manifest(out.parent)


def _familiar(found: Material, fitted: dict[str, Any], background: Background) -> FamiliarSigns:
    """The means of known and other signs; their weight and threshold go into `fitted`."""
    glosses = found.held.glosses
    others = background_clips(background.folder, {*glosses, *background.without})
    signs = familiar_signs(found.judged(), glosses, others, fitted["fusion"])
    rule = f"{PASSED:.0%} of clips of known signs that the networks have not seen reach it, each set counting the same"
    signs = replace(signs, threshold=round(signs.threshold, 4))
    fitted["familiarity"] = {"weight": signs.weight, "threshold": signs.threshold, "threshold_rule": rule}
    return signs


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python eval/publish.py", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the folder that eval/crossval.py filled, or STREAM folders")
    parser.add_argument("--data", nargs="+", required=True, type=Path, metavar="DIR", help="the same sets")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--card", required=True, type=Path, metavar="FILE", help="template of the card")
    parser.add_argument(
        "--background", type=Path, metavar="DIR", help="a set with other signs, to tell unknown ones by"
    )
    without = "JSON list of clips, each with its gloss: the glosses are left out of it, so that they stay unknown"
    parser.add_argument("--background-without", type=Path, metavar="FILE", help=without)
    parser.add_argument("--results", type=Path, default=OUT, metavar="DIR", help="default: leaderboard/results")
    args = parser.parse_args(arguments)

    def work() -> None:
        without = read_json(args.background_without, list) if args.background_without else []
        left_out = tuple(str(clip["gloss"]) for clip in without)
        background = Background(args.background, left_out) if args.background else None
        publish(args.run, args.data, args.out, args.card, args.results, background)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
