"""Is B better than A? A paired test of two rows of the table, on the clips that both scored.

    python eval/compare.py WLASL100:joint:test WLASL100:all:fitted:test
    python eval/compare.py 17 23

A row is `dataset:streams:fusion:protocol`, where what is not needed to tell it apart may be left out and the order of
the parts after the first does not matter; streams are joined with `+`, `all` is all four. Or it is the row's number in
results.csv, the first below the header being 1. The predictions clip by clip come from the cache of `run_all`.
"""

import argparse
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from dsta.common import UserError, exit_code
from dsta.metrics import Paired, paired
from eval.rows import predictions_file
from leaderboard.results import FUSIONS, KEY, OUT, PROTOCOLS, RESULTS_FILE, STREAMS, Row, read_rows, streams_name


def find_row(spec: str, rows: Sequence[Row]) -> Row:
    """The measured row that `spec` names. Raises UserError when there is none, or more than one."""
    if spec.isdigit():
        if not 1 <= int(spec) <= len(rows):
            raise UserError(f"There is no row {spec}: the table has rows 1 to {len(rows)}.")
        row = rows[int(spec) - 1]
        if row["status"] != "ok":
            raise UserError(f"Row {spec} ({name(row)}) was not measured: {row['reason']}")
        return row
    dataset, *parts = spec.split(":")
    wanted = {"dataset": dataset, **dict(map(_part, filter(None, parts)))}
    found = [row for row in rows if row["status"] == "ok" and all(row[key] == value for key, value in wanted.items())]
    if len(found) > 1:
        raise UserError(f"{spec} is not one row but {len(found)}: {', '.join(map(name, found[:8]))} …")
    if not found:
        others = sorted({row["dataset"] for row in rows if row["status"] == "ok"})
        raise UserError(f"No measured row is {spec}; there are rows of {', '.join(others) or 'no data set yet'}.")
    return found[0]


def _part(text: str) -> tuple[str, str]:
    if text in PROTOCOLS:
        return "protocol", text
    if text in FUSIONS:
        return "fusion", text
    return "streams", streams_name(STREAMS if text == "all" else text.split("+"))


def name(row: Row) -> str:
    return ":".join(row[column] for column in KEY)


class Predictions(NamedTuple):
    """Of each clip its name, its place in the ranking (0 is right at once), and the cluster whose take it is,
    if known; kind: what these clusters are."""

    names: np.ndarray
    rank: np.ndarray
    clusters: np.ndarray
    kind: str = ""


def predictions(row: Row, cache: Path) -> Predictions:
    """What the row's system said of each clip. Raises UserError when the cache has it not, or of other weights."""
    again = f"run {row['command']}"
    try:
        with np.load(predictions_file(cache, row), allow_pickle=False) as saved:
            hashes = (str(saved["weights_sha256"]), str(saved["data_sha256"]))
            found = Predictions(saved["names"], saved["rank"], saved["clusters"], str(saved["kind"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"The predictions of {name(row)} are not in {cache}: {again}") from error
    if hashes != (row["weights_sha256"], row["data_sha256"]):
        raise UserError(f"The predictions of {name(row)} in {cache} are not those of the table's row: {again}")
    return found


def compare(a: Predictions, b: Predictions, top_k: int = 1) -> Paired:
    """B against A on the clips of both, takes of one person kept together if known. Raises UserError without any."""
    for side in (a, b):
        if len(np.unique(side.names)) != len(side.names):
            raise UserError("Clip names occur more than once, so clips cannot be paired by name.")
    _, in_a, in_b = np.intersect1d(a.names, b.names, return_indices=True)
    if not len(in_a):
        raise UserError("The two rows have no clip in common: only rows on the same data can be compared.")
    clusters = a.clusters[in_a] if a.kind else None
    return paired(a.rank[in_a] < top_k, b.rank[in_b] < top_k, clusters)


def sentence(result: Paired, kind: str, clips: tuple[int, int]) -> str:
    """The finding in words, in points (percent). kind: of what was kept together, empty for single clips."""
    sign = -1 if result.difference < 0 else 1
    low, high = sorted(100 * sign * bound for bound in (result.low, result.high))
    who = "B is worse" if sign < 0 else "B is better"
    interval = f"95 % {low:.1f} … {high:.1f}{f', each of the {kind} kept together' if kind else ''}"
    text = f"{who} by {100 * abs(result.difference):.1f} points, {interval}, p {_p(result.p)} (n = {result.n})."
    if result.difference == 0:
        text = f"A and B are equally good (difference: {interval}, p {_p(result.p)}, n = {result.n})."
    elif result.low <= 0 <= result.high:
        text += " The difference may be chance: the interval holds 0."
    elif result.p > 0.05:
        text += " McNemar's test does not confirm it."
    if max(clips) > result.n:
        text += f" Clips in one row only are left out ({clips[0]} in A, {clips[1]} in B)."
    return f"{text}\nOnly A right: {result.only_a}; only B right: {result.only_b}."


def _p(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}"


def main(arguments: Sequence[str] | None = None) -> int:
    a_row = "A row: its number in results.csv, or dataset:streams:fusion:protocol, as far as needed."
    parser = argparse.ArgumentParser("python eval/compare.py", description=__doc__.splitlines()[0], epilog=a_row)
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    parser.add_argument("--top-k", type=int, choices=[1, 5], default=1)
    parser.add_argument("--results", type=Path, default=OUT, metavar="DIR", help="default: leaderboard/results")
    parser.add_argument("--cache", type=Path, default=Path(".cache/eval"), metavar="DIR")
    args = parser.parse_args(arguments)
    return exit_code(lambda: print_comparison(args.results, args.cache, (args.a, args.b), args.top_k))


def print_comparison(results: Path, cache: Path, specs: tuple[str, str], top_k: int) -> None:
    """Prints the two rows and the finding. Raises UserError."""
    rows = read_rows(results / RESULTS_FILE)
    pair = [find_row(spec, rows) for spec in specs]
    if pair[0]["data_sha256"] != pair[1]["data_sha256"]:
        raise UserError(f"{name(pair[0])} and {name(pair[1])} were measured on different data.")
    a, b = (predictions(row, cache) for row in pair)
    result = compare(a, b, top_k)
    for letter, row in zip("AB", pair, strict=True):
        print(f"{letter}: {name(row)}  top-{top_k} {float(row[f'top{top_k}_instance']):.1%}  n = {row['n']}")
    print(sentence(result, a.kind, (len(a.names), len(b.names))))


if __name__ == "__main__":
    sys.exit(main())
