"""Made-up results files for the leaderboard."""

import csv

from leaderboard import table
from leaderboard.results import SUBMITTED_COLUMNS


def row(dataset="WLASL100", protocol="test", streams="joint", fusion="none", top1=0.5, n=200, **more):
    """A row of results.csv as eval/run_all.py writes it, every cell as text."""
    cells = dict.fromkeys(table.COLUMNS, "")
    cells |= {"dataset": dataset, "protocol": protocol, "streams": streams, "fusion": fusion, "status": "ok", "n": n}
    for rate in table.RATES:
        cells |= {rate: top1, f"{rate}_lo": max(0, round(top1 - 0.05, 4)), f"{rate}_hi": min(1, round(top1 + 0.05, 4))}
    cells |= {"date": "2026-01-02T03:04:05+00:00", "command": "python eval/run_all.py", "commit": "0123456789abcdef"}
    return {name: str(value) for name, value in (cells | more).items()}


def absent(dataset, status, reason, **more):
    empty = dict.fromkeys(table.NUMBERS, "")
    return row(dataset, **more) | empty | {"status": status, "reason": reason}


def write(folder, rows, name="results.csv"):
    with (folder / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return folder


def sent(dataset="WLASL100", protocol="test", system="Forest", top1=0.5, n=200, **more):
    """A row of submitted.csv as eval/submit.py writes it."""
    cells = dict.fromkeys(SUBMITTED_COLUMNS, "") | {"dataset": dataset, "protocol": protocol, "system": system, "n": n}
    for rate in table.RATES:
        cells |= {rate: top1, f"{rate}_lo": round(top1 - 0.05, 4), f"{rate}_hi": round(top1 + 0.05, 4)}
    cells |= {"date": "2026-01-02T03:04:05+00:00", "origin": "a forest", "input": "pose", "num_classes": 100}
    return {name: str(value) for name, value in (cells | more).items()}
