"""A run of the whole table on made-up benchmarks, and what it wrote."""

import json
import shutil

from helpers.benchmarks import STREAMS, crossval_run, network, skeleton_set, wlasl100

from eval.run_all import main
from leaderboard.results import COLUMNS, KEY, PROVENANCE, RATES, STATUSES, TIMES, read_rows

ALL = "+".join(STREAMS)


def made_world(root):
    """data/ with WLASL100 (one clip of each class in val and test) and asl_everyday, weights/ and runs/ for them."""
    wlasl100(root / "data")
    glosses = [f"class {i}" for i in range(100)]
    for i, stream in enumerate(STREAMS):
        network(root / "weights" / "WLASL100" / stream, glosses, stream, seed=i)
    crossval_run(root / "runs" / "tiny", [skeleton_set(root / "data" / "asl_everyday")])
    return root


def copied(world, folder):
    """The same in another folder, to be damaged."""
    for part in ("data", "weights", "runs"):
        shutil.copytree(world / part, folder / part)
    return folder


def run(place, *more, datasets=("WLASL100", "asl_everyday"), out="out"):
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


def row(dataset="asl_everyday", streams="joint", fusion="none", status="ok", **more):
    base = dict.fromkeys(COLUMNS, "")
    shares = {rate + end: value for rate in RATES for end, value in (("", 0.5), ("_lo", 0.4), ("_hi", 0.625))}
    protocol = "folds" if dataset.islower() else "test"
    key = {"dataset": dataset, "protocol": protocol, "streams": streams, "fusion": fusion, "status": status}
    return base | key | (shares if status == "ok" else {"reason": "Because."}) | {"n": 8, "date": "2026-01-01"} | more


def check_table(rows):
    """What must hold of every table: known values, intervals around their value, no measured row without origin."""
    assert len({tuple(r[k] for k in KEY) for r in rows}) == len(rows)
    for r in rows:
        assert r["status"] in STATUSES and r["commit"] and r["date"].endswith("Z") and r["command"] and r["dirty"]
        assert bool(r["reason"]) == (r["status"] != "ok")
        if r["status"] != "ok":
            assert r["top1_instance"] == ""
            continue
        assert all(r[column] for column in PROVENANCE)
        assert len(r["weights_sha256"]) == len(r["data_sha256"]) == 64
        assert set(json.loads(r["fusion_weights"])) == set(r["streams"].split("+"))
        assert float(r["top1_instance"]) <= float(r["top5_instance"])
        for rate in RATES:
            low, value, high = (float(r[rate + end]) for end in ("_lo", "", "_hi"))
            assert 0 <= low <= value <= high <= 1


def lasting(row):
    """A row without what differs between two runs of the same thing: times and memory."""
    return {column: value for column, value in row.items() if column not in TIMES}
