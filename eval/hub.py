"""The rows of a weights folder in the Hugging Face Hub's form: `.eval_results/*.yaml` and `model-index.yml`.

python eval/hub.py weights/asl118 [--results leaderboard/results]
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dsta.common import UserError, exit_code, read_json, replace_files
from leaderboard.results import OUT, RESULTS_FILE, Row, read_rows

_METRICS = {"top1_instance": "Top-1 accuracy", "top1_class": "Top-1 accuracy, mean over glosses"}


def rows_of(weights: str | Path, rows: Sequence[Row], trained_on: Sequence[str]) -> list[Row]:
    """The best-defined measured row of each data set and protocol that speaks for a weights folder.

    That is all streams, fused by weights that were not tuned on the reported labels, of the benchmark that the folder
    is named after or, by cross-validation, of the sets that it was trained on.
    """
    name = Path(weights).resolve().name
    measured = [row for row in rows if row["status"] == "ok"]
    own = [r for r in measured if r["dataset"] == name or (r["protocol"] == "folds" and r["dataset"] in trained_on)]
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
    how = f"protocol {row['protocol']}"
    if row["protocol"] == "folds":
        how = "cross-validated: by networks of the same recipe that never saw the fold, not by the released ones"
    return [
        {
            "dataset": {"id": row["dataset"], "task_id": f"{row['protocol']}/{rate}"},
            "value": round(100 * float(row[rate]), 2),
            "date": row["date"],
            "notes": f"{_METRICS[rate]} (%), 95 % {100 * float(row[rate + '_lo']):.1f} to "
            f"{100 * float(row[rate + '_hi']):.1f}, n = {row['n']}; {how}; streams {row['streams']}, fusion "
            f"{row['fusion']}; weights {row['weights_sha256'][:12]}, data {row['data_sha256'][:12]}, commit "
            f"{row['commit']}; {row['command']}",
        }
        for rate in _METRICS
    ]


def model_index(name: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The older `model-index` of a model card, of the same rows."""
    task = {"type": "video-classification", "name": "Isolated sign language recognition"}
    results = []
    for row in rows:
        dataset = {"type": row["dataset"], "name": row["dataset"], "split": row["protocol"]}
        values = {label: round(100 * float(row[rate]), 2) for rate, label in _METRICS.items()}
        metrics = [{"type": "accuracy", "name": label, "value": value} for label, value in values.items()]
        results.append({"task": dict(task), "dataset": dataset, "metrics": metrics})
    return [{"name": name, "results": results}]


def hub(weights: Path, results: Path) -> list[Path]:
    """Writes `.eval_results/DATASET.yaml` and `model-index.yml` into a weights folder, from the rows in `results`.

    The Hub shows entries whose dataset id is one of its own; ours are the benchmarks' names. Raises UserError.
    """
    try:
        import yaml
    except ImportError as error:
        raise UserError("The Hub's files need PyYAML: pip install pyyaml.") from error
    configs = sorted(weights.glob("*/config.json"))
    if not configs:
        raise UserError(f"{weights} holds no weights: it has no STREAM/config.json.")
    rows = rows_of(weights, read_rows(results / RESULTS_FILE), read_json(configs[0])["provenance"].get("datasets", []))
    if not rows:
        raise UserError(f"{results / RESULTS_FILE} has no measured row for {weights.name}: run eval/run_all.py first.")
    weights = weights.resolve()
    content: dict[Path, Any] = {weights / "model-index.yml": {"model-index": model_index(weights.name, rows)}}
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        entries = [entry for row in rows if row["dataset"] == dataset for entry in hub_entries(row)]
        content[weights / ".eval_results" / f"{dataset}.yaml"] = entries
    try:
        (weights / ".eval_results").mkdir(parents=True, exist_ok=True)
        dump = partial(yaml.safe_dump, sort_keys=False, allow_unicode=True, width=1000, encoding="utf-8")
        replace_files({path: dump(value) for path, value in content.items()})
    except OSError as error:
        raise UserError(f"{weights} cannot be written to ({error.strerror}).") from error
    return list(content)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python eval/hub.py", description="Results in the Hub's form.")
    parser.add_argument("weights", type=Path, metavar="DIR", help="a weights folder, such as weights/asl118")
    parser.add_argument("--results", type=Path, default=OUT, metavar="DIR", help="where results.csv is")
    args = parser.parse_args(arguments)
    return exit_code(lambda: print(*hub(args.weights, args.results), sep="\n"))


if __name__ == "__main__":
    sys.exit(main())
