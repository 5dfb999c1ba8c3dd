"""Results on disk -> the rows that people see: read, checked, chosen, ranked, worded. Never torch, never gradio.

Fractions in the files, percent on screen.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dsta.common import UserError, read_csv
from dsta.data import BENCHMARKS
from leaderboard.results import (
    COLUMNS,
    FEWSHOT_COLUMNS,
    FEWSHOT_FILE,
    GLOSSES_FILE,
    KEY,
    RATES,
    RESULTS_FILE,
    ROBUSTNESS_FILE,
    SPEED_COLUMNS,
    SPEED_FILE,
    SUBMITTED_COLUMNS,
    SUBMITTED_FILE,
    UNKNOWN_COLUMNS,
    UNKNOWN_FILE,
)

COMMAND = "python eval/run_all.py"

SHARES = tuple(rate + end for rate in RATES for end in ("", "_lo", "_hi"))
COSTS = ("log_loss", "ece", "clips_per_second", "peak_memory_mb", "parameters", "latency_ms", "seconds")
NUMBERS = ("n", "num_classes", *SHARES, *COSTS)
TEXTS = tuple(name for name in COLUMNS if name not in NUMBERS)
GLOSS = ("gloss", "confused_with"), ("n", "hits1", "hits5", "confused_count")
DISTURBED = ("disturbance", "level"), ("n", *SHARES[:3])
FEWSHOT_NUMBERS = ("shots", "draws", "n", "ways", "top1", "top1_lo", "top1_hi", "top5")
UNKNOWN_NUMBERS = (
    "known", "unknown", "auroc", "auroc_lo", "auroc_hi", "passed", "flagged", "flagged_lo", "flagged_hi",
)  # fmt: skip
SPEED_NUMBERS = ("streams", "batch", "frames", "milliseconds", "ratio", "times_floor", "repeats", "load")
SUBMITTED_NUMBERS = tuple(name for name in SUBMITTED_COLUMNS if name in NUMBERS)

INITIALS = "J joint, B bone, JM and BM their motion"
LONGEST_SEARCH = 100  # characters
ALL, ANY = "all", "any"
MEASURES = dict(zip(RATES, ("Top-1", "Top-5", "Top-1 / class", "Top-5 / class"), strict=True))
AXES = {"latency_ms": ("Latency (ms)", 1.0), "parameters": ("Parameters (millions)", 1e-6)}

LEVELS = {"joints missing": "{:.0%}", "hands dropped": "{:.0%}", "noise": "{:g} px", "frame rate": "× {:g}"}


def level(disturbance: str, value: str) -> str:
    """A disturbance's strength as people read it; what is no number, or of an unknown kind, stays as it is."""
    try:
        return LEVELS.get(disturbance, "{:g}").format(float(value))
    except ValueError:
        return value


# ---- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """A file: `text` as it stands there, `rows` with the number columns as float64. The index of both is the line."""

    text: pd.DataFrame
    rows: pd.DataFrame


def read(path: Path, texts: Sequence[str], numbers: Sequence[str]) -> Table:
    """A CSV with at least these columns, kept in memory until the file changes; no rows where there is no file.

    Raises UserError where it cannot be read as such a table.
    """
    try:
        stamp = path.stat()
    except FileNotFoundError:
        empty = pd.DataFrame(columns=[*texts, *numbers], dtype=str)
        return Table(empty, empty.astype(dict.fromkeys(numbers, float)))
    except OSError as error:
        raise UserError(f"{path.name} cannot be read: {error.strerror or error}.") from error
    return _read(path, tuple(texts), tuple(numbers), (stamp.st_mtime_ns, stamp.st_size))


def stamp(path: Path) -> tuple[int, int]:
    """By which a changed file is known; zeros where there is none."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=16)
def _read(path: Path, texts: tuple[str, ...], numbers: tuple[str, ...], stamp: tuple[int, int]) -> Table:
    again = f"save it as it was, or delete it and run {COMMAND} again"
    found = read_csv(path, (*texts, *numbers), again)
    columns, lines = list(found[0].cells) if found else [*texts, *numbers], [row.line for row in found]
    # pandas' own reader would take a gloss NULL for nothing
    text = pd.DataFrame([row.cells for row in found], lines, columns, dtype=str)
    rows = text.copy()
    for name in numbers:
        rows[name] = pd.to_numeric(text[name].where(text[name] != "", "nan"), errors="coerce").astype(float)
        wrong = rows[name].isna() & ~text[name].str.lower().isin(["", "nan"])
        wrong |= ~rows[name].between(0, 1) & rows[name].notna() if name in SHARES else rows[name].abs() == math.inf
        if wrong.any():
            line = wrong.idxmax()
            kind = "a fraction between 0 and 1" if name in SHARES else "a number"
            raise UserError(f"{path.name}: {name} in line {line} is “{text[name][line]}”, not {kind}: {again}.")
    return Table(text, rows)


def results(folder: Path) -> Table:
    """What eval/run_all.py wrote, one row per dataset × protocol × streams × fusion. Raises UserError."""
    table = read(folder / RESULTS_FILE, TEXTS, NUMBERS)
    twice = table.rows.duplicated(list(KEY))
    if twice.any():
        row = " · ".join(table.rows.loc[twice, list(KEY)].iloc[0])
        raise UserError(f"results.csv has two rows for {row}. Delete it, then run {COMMAND} again.")
    broken = measured(table.rows)[["n", "top1_instance", "top1_instance_lo", "top1_instance_hi"]].isna().any(axis=1)
    if broken.any():
        raise UserError(f"Line {broken.idxmax()} of results.csv is “ok” but lacks its accuracy, its interval or n.")
    return table


def glosses(folder: Path) -> pd.DataFrame:
    return read(folder / GLOSSES_FILE, (*KEY, *GLOSS[0]), GLOSS[1]).rows


def robustness(folder: Path) -> pd.DataFrame:
    return read(folder / ROBUSTNESS_FILE, (*KEY, *DISTURBED[0]), DISTURBED[1]).rows


def fewshot(folder: Path) -> pd.DataFrame:
    """Signs known by a few examples. Raises UserError."""
    return _whole(folder / FEWSHOT_FILE, FEWSHOT_COLUMNS, FEWSHOT_NUMBERS)


def unknown(folder: Path) -> pd.DataFrame:
    """How signs outside the vocabulary are told. Raises UserError."""
    return _whole(folder / UNKNOWN_FILE, UNKNOWN_COLUMNS, UNKNOWN_NUMBERS)


def submitted(folder: Path) -> pd.DataFrame:
    """Predictions that others made, scored here. Raises UserError."""
    return _whole(folder / SUBMITTED_FILE, SUBMITTED_COLUMNS, SUBMITTED_NUMBERS)


def speed(folder: Path) -> pd.DataFrame:
    """How long networks and whole clips take. Raises UserError."""
    return _whole(folder / SPEED_FILE, SPEED_COLUMNS, SPEED_NUMBERS)


def _whole(path: Path, columns: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    return read(path, [name for name in columns if name not in numbers], numbers).rows


# ---- choosing and ranking --------------------------------------------------------------------------------------------


def dataset_order(column: pd.Series) -> pd.Series:
    """A sort key: benchmarks in the registry's order, then everything else by name, upper case as lower."""
    rank = {name: f"{index:03}" for index, name in enumerate(BENCHMARKS)}
    return column.map(lambda name: rank.get(name, f"~{str(name).casefold()}"))


def dataset_names(*columns: pd.Series) -> list[str]:
    """Every name in these columns once, benchmarks first, in the registry's order."""
    names = pd.concat(columns, ignore_index=True).drop_duplicates()
    return list(names.loc[dataset_order(names).sort_values(kind="stable").index])


def measured(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["status"] == "ok"]


def ranked(rows: pd.DataFrame) -> pd.DataFrame:
    """By dataset and protocol; in each the best first: top-1 per instance, then per class, then fewer streams."""
    rows = rows.assign(_dataset=dataset_order(rows["dataset"]), _few=rows["streams"].str.count(r"\+"))
    order = ["_dataset", "protocol", "top1_instance", "top1_class", "_few", "streams", "fusion"]
    falling = [name.startswith("top1") for name in order]
    rows = rows.sort_values(order, ascending=[not down for down in falling], kind="stable")
    return rows.drop(columns=["_dataset", "_few"])


def best(rows: pd.DataFrame) -> pd.DataFrame:
    """The first of each dataset × protocol among ranked rows."""
    return rows.drop_duplicates(["dataset", "protocol"])


def filtered(rows: pd.DataFrame, dataset: str, protocol: str = ANY, search: str = "") -> pd.DataFrame:
    """The rows of a dataset (or of all) under a protocol (or any) in which every word of `search` is found."""
    if dataset != ALL:
        rows = rows[rows["dataset"] == dataset]
    if protocol != ANY:
        rows = rows[rows["protocol"] == protocol]
    if words := search[:LONGEST_SEARCH].casefold().split():
        said = rows["said"] if "said" in rows else words_of(rows)
        found = [all(word in line for word in words) for line in said]
        rows = rows[pd.Series(found, rows.index, bool)]  # of no row, a list would choose no column
    return rows


def words_of(rows: pd.DataFrame) -> pd.Series:
    """All that the text columns of each row say, in lower case; a stream also as the table words it."""
    texts = rows.select_dtypes(exclude="number")
    said = texts.astype(str).agg(" ".join, axis=1) if len(texts) else pd.Series("", index=rows.index, dtype=str)
    return (said + " " + rows["streams"].map(stream_label)).str.casefold() if "streams" in rows else said.str.casefold()


def find(rows: pd.DataFrame, key: Sequence[str]) -> pd.DataFrame:
    """The rows of one dataset, protocol, streams and fusion."""
    return rows[(rows[list(KEY)] == list(key)).all(axis=1)]


def missing(rows: pd.DataFrame) -> pd.DataFrame:
    """What was not measured, summed up: dataset, status, reason and how many rows say so."""
    rows = rows[rows["status"] != "ok"].sort_values(["dataset"], key=dataset_order, kind="stable")
    return rows.groupby(["dataset", "status", "reason"], sort=False).size().rename("rows").reset_index()


def records(folder: Path, dataset: str = "", protocol: str = "") -> list[dict[str, Any]]:
    """The rows of a dataset (or of all) under a protocol (or any), every column: numbers as such, empty ones None.

    Raises UserError where there is no such dataset or protocol, and where the files cannot be read.
    """
    rows = results(folder).rows
    for column, asked in (("dataset", dataset), ("protocol", protocol)):
        there = dict.fromkeys(rows[column])
        if asked and asked not in there:
            raise UserError(f"There is no such {column}; there is {', '.join(there)}.")
    chosen = filtered(rows, dataset or ALL, protocol or ANY)
    return chosen.astype(object).where(chosen.notna(), None).to_dict("records")


def hardest(rows: pd.DataFrame) -> pd.DataFrame:
    """The glosses, those first that are hit least; of equals, the one with more clips first."""
    rows = rows[rows["n"] > 0].assign(rate=rows["hits1"] / rows["n"])
    return rows.sort_values(["rate", "n", "gloss"], ascending=[True, False, True])


def confused(rows: pd.DataFrame, limit: int = 12) -> pd.DataFrame:
    """The glosses that are most often taken for one other: by clips, then by their share of the gloss's clips."""
    rows = rows[(rows["confused_count"] > 0) & (rows["n"] > 0)].assign(share=rows["confused_count"] / rows["n"])
    return rows.sort_values(["confused_count", "share", "gloss"], ascending=[False, False, True]).head(limit)


# ---- wording ---------------------------------------------------------------------------------------------------------


def stream_label(streams: str) -> str:
    """`joint+bone_motion` -> `joint, bone motion`; all four by that name."""
    names = streams.split("+")
    return "all four" if len(names) == 4 else ", ".join(name.replace("_", " ") for name in names)


def stream_initials(streams: str) -> str:
    """`joint+bone_motion` -> `J BM`."""
    initials = ["".join(word[:1] for word in name.split("_")).upper() for name in streams.split("+")]
    return "all four" if len(initials) == 4 else " ".join(initials)


def percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.1f}"


def interval(low: float, high: float) -> str:
    """Two fractions -> `77.3 – 86.6`, percent; empty where one is missing."""
    return "" if math.isnan(low) or math.isnan(high) else f"{percent(low)} – {percent(high)}"


def number(value: float, digits: int = 0) -> str:
    """12345.6 -> `12 346` with a narrow space; empty where it is missing."""
    return "" if math.isnan(value) else f"{value:,.{digits}f}".replace(",", "\u202f")
