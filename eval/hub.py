"""The rows of a weights folder in the Hugging Face Hub's form: `.eval_results/*.yaml` and `model-index.yml`.

python eval/hub.py weights/asl71 [--results leaderboard/results]
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dsta.common import UserError, exit_code
from leaderboard.results import OUT, RESULTS_FILE, Row, read_rows

_METRICS = {"top1_instance": "Top-1 accuracy", "top1_class": "Top-1 accuracy, mean over glosses"}


def rows_of(weights: str | Path, rows: Sequence[Row], trained_on: Sequence[str]) -> list[Row]:
    """The best-defined measured row of each data set and protocol that speaks for a weights folder.

    That is all streams, fused by weights that were not tuned on the reported labels, of the benchmark that the folder
    is named after or, by cross-validation, of the sets that it was trained on.
    """
    name = Path(weights).resolve().name
    own = [row for row in rows if row["status"] == "ok" and row["dataset"] in (name, *trained_on)]
    best: dict[tuple[str, str], Row] = {}
    for row in own:
        place = (row["dataset"], row["protocol"])
        if place not in best or _standing(row) > _standing(best[place]):
            best[place] = row
    return list(best.values())


def _standing(row: Row) -> tuple[int, int]:
    return row["streams"].count("+"), ("published", "none", "equal", "fitted").index(row["fusion"])


def hub_entries(row: Row) -> list[dict[str, Any]]:
    """`.eval_results` entries (huggingface.co/docs/hub/eval-results) of a row, in percent as is the custom there."""
    held_out = (
        "cross-validated: by networks of the same recipe that never saw the fold, not by the released ones"
        if row["protocol"] == "folds"
        else f"protocol {row['protocol']}"
    )
    return [
        {
            "dataset": {"id": row["dataset"], "task_id": f"{row['protocol']}/{rate}"},
            "value": round(100 * float(row[rate]), 2),
            "date": row["date"],
            "notes": f"{_METRICS[rate]} (%), 95 % {100 * float(row[rate + '_lo']):.1f} to "
            f"{100 * float(row[rate + '_hi']):.1f}, n = {row['n']}; {held_out}; streams {row['streams']}, fusion "
            f"{row['fusion']}; weights {row['weights_sha256'][:12]}, data {row['data_sha256'][:12]}, commit "
            f"{row['commit']}; {row['command']}",
        }
        for rate in _METRICS
    ]


def model_index(name: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The older `model-index` of a model card, of the same rows."""
    return [
        {
            "name": name,
            "results": [
                {
                    "task": {"type": "video-classification", "name": "Isolated sign language recognition"},
                    "dataset": {"type": row["dataset"], "name": row["dataset"], "split": row["protocol"]},
                    "metrics": [
                        {"type": "accuracy", "name": label, "value": round(100 * float(row[rate]), 2)}
                        for rate, label in _METRICS.items()
                    ],
                }
                for row in rows
            ],
        }
    ]


def write_hub(weights: str | Path, rows: Sequence[Row], dump: Callable[[Any], str]) -> list[Path]:
    """Writes `.eval_results/DATASET.yaml` and `model-index.yml` into a weights folder; `dump` makes YAML of data.

    The Hub shows entries whose dataset id is one of its own; ours are the benchmarks' names.
    """
    weights = Path(weights).resolve()
    folder = weights / ".eval_results"
    content = {weights / "model-index.yml": dump({"model-index": model_index(weights.name, rows)})}
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        entries = [entry for row in rows if row["dataset"] == dataset for entry in hub_entries(row)]
        content[folder / f"{dataset}.yaml"] = dump(entries)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in content.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{weights} cannot be written to ({error.strerror}).") from error
    return list(content)


def hub(weights: Path, results: Path) -> list[Path]:
    """Writes the Hub's files for a weights folder from the rows in the folder `results`. Raises UserError."""
    try:
        import yaml
    except ImportError as error:
        raise UserError("The Hub's files need PyYAML: pip install pyyaml.") from error
    configs = sorted(weights.glob("*/config.json"))
    if not configs:
        raise UserError(f"{weights} holds no weights: it has no STREAM/config.json.")
    trained_on = json.loads(configs[0].read_text(encoding="utf-8")).get("provenance", {}).get("datasets", [])
    rows = rows_of(weights, read_rows(results / RESULTS_FILE), trained_on)
    if not rows:
        raise UserError(f"{results / RESULTS_FILE} has no measured row for {weights.name}: run eval/run_all.py first.")
    return write_hub(
        weights, rows, lambda value: yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python eval/hub.py", description="Results in the Hub's form.")
    parser.add_argument("weights", type=Path, metavar="DIR", help="a weights folder, such as weights/asl71")
    parser.add_argument("--results", type=Path, default=OUT, metavar="DIR", help="where results.csv is")
    args = parser.parse_args(arguments)

    def work() -> None:
        for path in hub(args.weights, args.results):
            print(path)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
