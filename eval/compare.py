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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from dsta.common import UserError, exit_code
from eval.rows import predictions_file
from leaderboard.pairs import Predictions, compare, sentence
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
