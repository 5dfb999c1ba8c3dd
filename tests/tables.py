"""A run of the whole table on made-up benchmarks, and what it wrote."""

import shutil

from benchmarks import STREAMS, crossval_run, network, skeleton_set, wlasl100
from test_results import check_table

from eval.results import read_rows
from eval.run_all import main

ALL = "+".join(STREAMS)


def made_world(root):
    """data/ with WLASL100 (one clip of each class in val and test) and wlasl50, weights/ and runs/ for them."""
    wlasl100(root / "data")
    glosses = [f"class {i}" for i in range(100)]
    for i, stream in enumerate(STREAMS):
        network(root / "weights" / "WLASL100" / stream, glosses, stream, seed=i)
    crossval_run(root / "runs" / "tiny", [skeleton_set(root / "data" / "wlasl50")])
    return root


def copied(world, folder):
    """The same in another folder, to be damaged."""
    for part in ("data", "weights", "runs"):
        shutil.copytree(world / part, folder / part)
    return folder


def run(place, *more, datasets=("WLASL100", "wlasl50"), out="out"):
    arguments = [
        "--data", place / "data", "--weights", place / "weights", "--runs", place / "runs", "--out", place / out,
        "--cache", place / "cache", "--device", "cpu", "--datasets", *datasets, *more,
    ]  # fmt: skip
    return main(list(map(str, arguments)))


def table(place, out="out"):
    rows = read_rows(place / out / "results.csv")
    check_table(rows)
    return {(r["dataset"], r["protocol"], r["streams"], r["fusion"]): r for r in rows}


def unmade(place, dataset):
    """(status, reason) of each row that is not ok, by streams."""
    return {key[2]: (r["status"], r["reason"]) for key, r in table(place).items() if key[0] == dataset and r["reason"]}
