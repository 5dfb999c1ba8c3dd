"""The results on disk: what a row is, reading, writing without halves, and the Hub's form of the same rows.

    python -m eval.results hub weights/asl71 [--results leaderboard/results]

`results.csv` has one row per dataset x protocol x streams x fusion; `glosses.csv` the counts of each gloss in each row
that is ok; `robustness.csv` one row per disturbance. Shares are fractions. Never torch.

Hashes: data_sha256 is the sha256 of the lines `sha256  filename` of the data set's files, in order of filename, as
`sha256sum FILES | sha256sum` prints it inside the folder; weights_sha256 is that of `model.safetensors`, or, of several
networks, the sha256 of the lines `sha256  stream` or `sha256  fold0/stream`, in order of the name.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dsta.datasets import BENCHMARKS, SMALL_SETS
from dsta.errors import UserError, exit_code
from dsta.files import replace_file

Row = dict[str, str]

STREAMS = ("joint", "bone", "joint_motion", "bone_motion")
PROTOCOLS = ("test", "val+test", "folds")
FUSIONS = ("none", "published", "equal", "fitted")
STATUSES = ("ok", "no data", "no weights", "mismatch", "error")
RATES = ("top1_instance", "top5_instance", "top1_class", "top5_class")

KEY = ("dataset", "protocol", "streams", "fusion")
PROVENANCE = (
    "device", "dtype", "torch", "recipe", "weights_sha256", "data_sha256", "commit", "dirty", "seconds", "date",
    "command",
)  # fmt: skip
COLUMNS = (
    *KEY, "status", "reason", "n", "num_classes",
    *(rate + end for rate in RATES for end in ("", "_lo", "_hi")),
    "log_loss", "ece", "clips_per_second", "peak_memory_mb", "parameters", "latency_ms", "fusion_weights", "note",
    *PROVENANCE,
)  # fmt: skip
GLOSS_COLUMNS = (*KEY, "gloss", "n", "hits1", "hits5", "confused_with", "confused_count")
DISTURBED_COLUMNS = (*KEY, "disturbance", "level", "n", "top1_instance", "top1_instance_lo", "top1_instance_hi")
RESULTS_FILE, GLOSSES_FILE, ROBUSTNESS_FILE = "results.csv", "glosses.csv", "robustness.csv"
OUT = Path(__file__).resolve().parents[1] / "leaderboard" / "results"
TIMES = ("clips_per_second", "peak_memory_mb", "latency_ms", "seconds", "date", "command")
OTHER_WORK = "Other work kept up to {:.1f} cores busy meanwhile: speed and latency are worse for it."


def streams_name(streams: Iterable[str]) -> str:
    """The streams joined with `+` in the table's order. Raises UserError for a stream that is none."""
    chosen = set(streams)
    unknown = sorted(chosen - set(STREAMS))
    if unknown:
        raise UserError(f"No stream is called {unknown[0]}: the streams are {', '.join(STREAMS)}.")
    return "+".join(stream for stream in STREAMS if stream in chosen)


def hash_lines(hashes: Mapping[str, str]) -> str:
    """sha256 of the lines `sha256  name`, in order of name; of a single unnamed one, itself."""
    if set(hashes) == {""}:
        return hashes[""]
    return hashlib.sha256("".join(f"{sha}  {name}\n" for name, sha in sorted(hashes.items())).encode()).hexdigest()


def key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[column]) for column in KEY)


def lasting(row: Row) -> Row:
    """The row without what differs between two runs of the same thing: times, memory, what else the machine did."""
    busy = re.escape(OTHER_WORK).replace(re.escape("{:.1f}"), "[0-9.]+")
    kept = {column: value for column, value in row.items() if column not in TIMES}
    return kept | {"note": re.sub(f" ?{busy}", "", row["note"]).strip()}


def now() -> str:
    """The time as the column `date` has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def made_by(commit: str, date: str) -> dict[str, Any]:
    """The columns that say when and by which code; a commit that ends in `+` had uncommitted changes."""
    return {"commit": commit.rstrip("+"), "dirty": commit.endswith("+"), "date": date}


def as_text(value: Any) -> str:
    """A cell: floats to six digits after the point, from 1000 to one; booleans in lower case."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.1f}" if abs(value) >= 1000 else f"{value:.6f}"
    return "" if value is None else str(value)


def read_rows(path: str | Path, columns: Sequence[str] = COLUMNS) -> list[Row]:
    """The rows of a results file, cells as text; none where there is no file.

    Raises UserError when it is not such a file.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            columns_found, rows = list(reader.fieldnames or ()), list(reader)
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}): move it away, and run_all writes it anew.") from error
    missing = [column for column in columns if column not in columns_found]
    if missing or any(None in row or None in row.values() for row in rows):
        lacks = f"it lacks the column {missing[0]}" if missing else "a row has too many or too few cells"
        raise UserError(f"{path} is not a results file ({lacks}): move it away, and run_all writes it anew.")
    return rows


def check_writable(out: str | Path, option: str = "--out") -> None:
    """Makes the folder and tries it. Raises UserError when nothing can be written there."""
    out = Path(out)
    trial = out / f".{os.getpid()}.part"
    try:
        out.mkdir(parents=True, exist_ok=True)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise UserError(
            f"{out} cannot be written to ({error.strerror}): choose another folder with {option}."
        ) from error


def write_rows(path: str | Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> None:
    """Writes all rows at once: a reader, and a crash, find the old file or the new one. Raises UserError."""
    path = Path(path)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: as_text(row.get(column)) for column in columns} for row in rows)
    try:
        replace_file(path, text.getvalue().encode())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); what was scored is in the cache.") from error


def merged(old: Iterable[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The old rows with the new ones in their place, in the table's order.

    A row that is new replaces the old one of its key, except that a measured row is not unmade by missing files, nor by
    an error, such as a full disk, unless that was met with other data or weights. Of the data sets in `new`, old rows
    that are not `ok` go: they say what was the matter then.
    """
    datasets = {row["dataset"] for row in new}
    rows = {key(row): row for row in old if row["dataset"] not in datasets or row["status"] == "ok"}
    for row in new:
        if key(row) not in rows or not _outlasts(rows[key(row)], row):
            rows[key(row)] = row
    return sorted(rows.values(), key=_order)


def _outlasts(measured: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether the old row stays in spite of what was found now."""
    if new["status"] != "error":
        return new["status"] in ("no data", "no weights")
    return not any(new.get(sha) and new[sha] != measured[sha] for sha in ("data_sha256", "weights_sha256"))


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    known = [*BENCHMARKS, *SMALL_SETS]
    place = known.index(row["dataset"]) if row["dataset"] in known else len(known)
    streams = row["streams"].split("+")
    chosen = tuple(STREAMS.index(stream) for stream in streams)
    return place, row["dataset"], PROTOCOLS.index(row["protocol"]), len(streams), chosen, FUSIONS.index(row["fusion"])


def write_dataset(out: str | Path, rows: Sequence[Mapping[str, Any]], glosses: Sequence[Mapping[str, Any]]) -> None:
    """Puts a data set's new rows, and the gloss counts of those that are ok, into the files of the folder `out`."""
    out = Path(out)
    done = {key(row) for row in rows if row["status"] == "ok"}
    kept = [row for row in read_rows(out / GLOSSES_FILE, GLOSS_COLUMNS) if key(row) not in done]
    table = merged(read_rows(out / RESULTS_FILE), rows)
    measured = {key(row) for row in table if row["status"] == "ok"}
    counts = [row for row in (*kept, *glosses) if key(row) in measured]
    write_rows(out / GLOSSES_FILE, sorted(counts, key=_order), GLOSS_COLUMNS)
    write_rows(out / RESULTS_FILE, table)


def write_robustness(out: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Puts new rows of disturbed clips in the place of the old ones of the same key."""
    path, new = Path(out) / ROBUSTNESS_FILE, {key(row) for row in rows}
    kept = [row for row in read_rows(path, DISTURBED_COLUMNS) if key(row) not in new]
    write_rows(path, sorted((*kept, *rows), key=_order), DISTURBED_COLUMNS)


# ---- the Hub's form --------------------------------------------------------------------------------------------------

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
    parser = argparse.ArgumentParser(prog="python -m eval.results", description="Results in the Hub's form.")
    parser.add_argument("form", choices=["hub"], help="writes .eval_results/*.yaml and model-index.yml")
    parser.add_argument("weights", type=Path, metavar="DIR", help="a weights folder, such as weights/asl71")
    parser.add_argument("--results", type=Path, default=OUT, metavar="DIR", help="where results.csv is")
    args = parser.parse_args(arguments)

    def work() -> None:
        for path in hub(args.weights, args.results):
            print(path)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
