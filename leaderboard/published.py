"""Figures that others published of their own methods: read, ordered, worded. Never measured here, never ranked."""

from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from leaderboard.table import MEASURES, Column, dataset_order, number_column, read, text_column

PUBLISHED = Path(__file__).parent / "published.csv"
FIGURES = (
    ("method", "modality", "benchmark", "metric", "protocol", "status", "reading", "source", "url"),
    ("value", "n", "year"),
)
WITHDRAWN = "withdrawn"


def published(path: Path = PUBLISHED) -> pd.DataFrame:
    """The figures in percent, as each was read: by dataset and method, never by value.

    n (clips scored), year and url are empty where they are not known; status is empty or WITHDRAWN. Raises UserError.
    """
    rows = read(path, *FIGURES).rows
    return rows.sort_values(["benchmark", "method", "metric"], key=dataset_order, kind="stable")


def _value(row: Any) -> tuple[float | None, str]:
    """What its authors took back is struck through, and without a value by which the page's table could sort it."""
    shown = f"{row.value:g}"
    return (None, f"<s>{shown}</s> {WITHDRAWN}") if row.status == WITHDRAWN else (row.value, shown)


def _source(row: Any) -> tuple[str, str]:
    """The source, as a link where its address is one of the web."""
    if urlsplit(row.url).scheme not in ("https", "http"):
        return row.source, escape(row.source)
    return row.source, f'<a href="{escape(row.url)}" target="_blank" rel="noopener">{escape(row.source)}</a>'


PUBLISHED_COLUMNS = (
    text_column("Dataset", "benchmark", 104),
    text_column("Method", "method", 164),
    text_column("Input", "modality", 92),
    text_column("Measure", "metric", 108, lambda metric: MEASURES.get(metric, metric)),
    Column("Published %", _value, 104, "html"),
    text_column("Protocol", "protocol", 160),
    number_column("Clips", "n", 70),
    Column("Year", lambda row: (None, "–") if pd.isna(row.year) else (row.year, f"{row.year:.0f}"), 64),
    text_column("How we read it", "reading", 116),
    Column("Source", _source, 222, "html"),
)
