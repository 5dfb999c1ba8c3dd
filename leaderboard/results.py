"""The results on disk: what a row is, reading, writing without halves. Never torch.

`results.csv` has one row per dataset x protocol x streams x fusion; `glosses.csv` the counts of each gloss in each row
that is ok; `robustness.csv` one row per disturbance; `fewshot.csv` signs known by examples; `unknown.csv` how signs
outside the vocabulary are told; `submitted.csv` predictions that others made, scored here; `speed.csv` how long things
take (eval/network_speed.py says what its columns hold). Shares are fractions.

interval: how the 95 % intervals were found. selection: by which clips epoch, recipe and fusion were chosen. run: the
cross-validation whose networks scored, empty for a benchmark.

Hashes: data_sha256 is the sha256 of the lines `sha256  filename` of the data set's files, in order of filename, as
`sha256sum FILES | sha256sum` prints it inside the folder;
run_sha256 is that of the run's `chosen.json` and `run.json`;
weights_sha256 is that of `model.safetensors`, or, of several networks, the sha256 of the lines `sha256  stream` or
`sha256  fold0/stream`, in order of the name.
"""

import csv
import hashlib
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dsta.common import UserError, read_csv, replace_file
from dsta.data import BENCHMARKS, SMALL_SETS

Row = dict[str, str]
STREAMS = ("joint", "bone", "joint_motion", "bone_motion")
PROTOCOLS = ("test", "test-clean", "test-videos", "val", "val-videos", "val+test", "folds")
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
    *(rate + end for rate in RATES for end in ("", "_lo", "_hi")), "interval",
    "log_loss", "ece", "clips_per_second", "peak_memory_mb", "parameters", "latency_ms", "fusion_weights", "selection",
    "note", "run", "run_sha256", *PROVENANCE,
)  # fmt: skip
GLOSS_COLUMNS = (*KEY, "gloss", "n", "hits1", "hits5", "confused_with", "confused_count")
DISTURBED_COLUMNS = (
    *KEY, "disturbance", "level", "n", "top1_instance", "top1_instance_lo", "top1_instance_hi", "weights_sha256",
    "data_sha256", "commit", "date",
)  # fmt: skip
FEWSHOT_KEY = ("dataset", "protocol", "examples", "shots", "system", "streams")
FEWSHOT_COLUMNS = (
    *FEWSHOT_KEY, "draws", "n", "ways", "top1", "top1_lo", "top1_hi", "top5", "interval", "weights_sha256",
    "data_sha256", "commit", "dirty", "date", "command",
)  # fmt: skip
UNKNOWN_KEY = ("dataset", "protocol", "score", "streams")
UNKNOWN_COLUMNS = (
    *UNKNOWN_KEY, "known", "unknown", "auroc", "auroc_lo", "auroc_hi", "passed", "flagged", "flagged_lo", "flagged_hi",
    "interval", "weights_sha256", "data_sha256", "commit", "dirty", "date", "command",
)  # fmt: skip
SUBMITTED_KEY = ("dataset", "protocol", "system")
SUBMITTED_COLUMNS = (
    *SUBMITTED_KEY, "input", "trained_on", "origin", "n", "num_classes",
    *(rate + end for rate in RATES for end in ("", "_lo", "_hi")), "interval", "log_loss", "ece", "note",
    "predictions_sha256", "commit", "dirty", "date", "command",
)  # fmt: skip
SPEED_KEY = ("what", "size", "streams", "batch", "frames", "form", "dtype", "device", "threads")
SPEED_COLUMNS = (
    *SPEED_KEY, "milliseconds", "ratio", "times_floor", "repeats", "load", "torch", "commit", "dirty", "date",
    "command",
)  # fmt: skip
RESULTS_FILE, GLOSSES_FILE, ROBUSTNESS_FILE = "results.csv", "glosses.csv", "robustness.csv"
FEWSHOT_FILE, UNKNOWN_FILE, SUBMITTED_FILE = "fewshot.csv", "unknown.csv", "submitted.csv"
SPEED_FILE = "speed.csv"
SCORES_FOLDER = "scores"
FITTED_ON_VALIDATION = ("test", "test-clean")
"""The protocols without validation clips, by which their fusion may therefore be fitted."""
OUT = Path(__file__).resolve().parent / "results"
_ANEW = "save it as it was, or move it away, and run_all writes it anew"
TIMES = ("clips_per_second", "peak_memory_mb", "latency_ms", "seconds", "date", "command")


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
    if not path.exists():
        return []
    return [row.cells for row in read_csv(path, columns, _ANEW)]


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
        replace_file(path, text.getvalue().encode(errors="replace"))
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); what was scored is in the cache.") from error


def merged(old: Iterable[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The old rows with the new ones in their place, in the table's order.

    A row that is new replaces the old one of its key, except that a measured row is not unmade by missing files, nor by
    an error, such as a full disk, unless that was met with other data or weights. Of the data sets in `new`, old rows
    that are not `ok` go: they say what was the matter then. Of a data set that is not here, all old rows stay.
    """
    old = list(old)
    there, known = {row["dataset"] for row in new if row["status"] != "no data"}, {row["dataset"] for row in old}
    new = [row for row in new if row["dataset"] in there or row["dataset"] not in known]
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
    old = read_rows(out / RESULTS_FILE)
    table = merged(old, rows)
    if table == old:
        return
    kept = [row for row in read_rows(out / GLOSSES_FILE, GLOSS_COLUMNS) if key(row) not in done]
    measured = {key(row) for row in table if row["status"] == "ok"}
    counts = [row for row in (*kept, *glosses) if key(row) in measured]
    write_rows(out / GLOSSES_FILE, sorted(counts, key=_order), GLOSS_COLUMNS)
    write_rows(out / RESULTS_FILE, table)


def write_robustness(out: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Puts new rows of disturbed clips in the place of the old ones of the same key."""
    _replace_rows(Path(out) / ROBUSTNESS_FILE, rows, DISTURBED_COLUMNS, KEY, _order)


def write_fewshot(out: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Puts new rows of signs known by examples in the place of the old ones of the same key."""
    _replace_rows(Path(out) / FEWSHOT_FILE, rows, FEWSHOT_COLUMNS, FEWSHOT_KEY)


def write_unknown(out: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Puts new rows of signs outside the vocabulary in the place of the old ones of the same key."""
    _replace_rows(Path(out) / UNKNOWN_FILE, rows, UNKNOWN_COLUMNS, UNKNOWN_KEY)


def write_submitted(out: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Puts new rows of submitted predictions in the place of the old ones of the same key."""
    _replace_rows(Path(out) / SUBMITTED_FILE, rows, SUBMITTED_COLUMNS, SUBMITTED_KEY)


def _replace_rows(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    key_columns: Sequence[str],
    order: Callable[[Mapping[str, Any]], Any] | None = None,
) -> None:
    """Puts new rows in the place of the old ones of the same key, in an order: by default that of the keys."""

    def place(row: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(str(row[column]) for column in key_columns)

    new = {place(row) for row in rows}
    kept = [row for row in read_rows(path, columns) if place(row) not in new]
    write_rows(path, sorted((*kept, *rows), key=order or place), columns)
