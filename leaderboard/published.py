"""Figures that others published of their own methods: read, and put beside each other. Never measured here."""

from pathlib import Path

import pandas as pd

from leaderboard.table import dataset_order, read

PUBLISHED = Path(__file__).parent / "published.csv"
FIGURES = (
    ("method", "modality", "benchmark", "metric", "protocol", "status", "reading", "source", "url"),
    ("value", "n", "year"),
)
WITHDRAWN = "withdrawn"
IMPOSSIBLE = "not possible"
"""In a protocol: no number of hits among so many clips gives the figure."""


def published(path: Path = PUBLISHED) -> pd.DataFrame:
    """The figures in percent, as each was read: by dataset and method, never by value.

    n (clips scored), year and url are empty where they are not known; status is empty or WITHDRAWN. Raises UserError.
    """
    rows = read(path, *FIGURES).rows
    return rows.sort_values(["benchmark", "method", "metric"], key=dataset_order, kind="stable")


def by_method(rows: pd.DataFrame) -> pd.DataFrame:
    """Published figures, the several measures of a method on the same clips in one row, as fractions."""
    same = ["benchmark", "method", "modality", "protocol", "status", "reading", "url"]
    lines = []
    for names, part in rows.groupby(same, sort=False):
        line = dict(zip(same, names, strict=True)) | dict(zip(part["metric"], part["value"] / 100, strict=True))
        lines.append(line | {"n": part["n"].max(), "year": part["year"].max(), "source": part["source"].iloc[0]})
    columns = [*same, "n", "year", "source", *dict.fromkeys(rows["metric"])]
    found = pd.DataFrame(lines, columns=columns)
    return found.rename(columns={"benchmark": "dataset", "method": "system", "modality": "input"})
