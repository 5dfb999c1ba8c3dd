"""The one sheet: what was measured here, submitted and published, side by side, each with its badge. Text is escaped.

A figure of others is never taken for one of ours: the badge says whose it is, its clips and protocol stand beside it,
and what its authors took back has no rank.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from leaderboard import table
from leaderboard.published import WITHDRAWN, by_method
from leaderboard.results import KEY, PROTOCOLS, RATES, SUBMITTED_COLUMNS

MEASURED, SUBMITTED, PUBLISHED = "measured", "submitted", "published"
KINDS = {
    MEASURED: "scored here, by this program, from the weights and data that the row names",
    SUBMITTED: "predictions that others made, scored here on the official clips; how they were made is their word",
    PUBLISHED: "read in a paper or a repository; nothing of it was checked here",
    WITHDRAWN: "published, and taken back by its authors",
}
PAGE_ROWS = 100
"""As many rows stand in the sheet at a time: a browser lays out a few hundred in a moment, not thousands."""


def entries(measured: pd.DataFrame, submitted: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """All rows under one head, in the table's own order: by dataset and protocol, then by falling top-1.

    id: names a row that has details; empty for a published one. Rates of a withdrawn figure are in `struck` alone.
    said: all words of a row, for the search.
    """
    own = measured.assign(
        kind=MEASURED,
        system=[_system(*names) for names in zip(measured["streams"], measured["fusion"], strict=True)],
        input="pose",
        id=[":".join(names) for names in measured[list(KEY)].itertuples(index=False)],
    )
    sent = submitted.assign(kind=SUBMITTED, id=[submitted_id(row) for row in submitted.itertuples()])
    others = by_method(published)
    gone = others["status"] == WITHDRAWN
    others = others.assign(kind=PUBLISHED, struck=others["top1_instance"].where(gone))
    others.loc[gone, "kind"] = WITHDRAWN
    others.loc[gone, [name for name in RATES if name in others]] = math.nan
    rows = pd.concat([frame.dropna(axis="columns", how="all") for frame in (own, sent, others)], ignore_index=True)
    rows = rows.reindex(columns=list(dict.fromkeys([*rows.columns, *NEEDED])))
    texts = [name for name in rows.columns if name not in NUMBERS]
    rows[texts] = rows[texts].astype(object).fillna("")
    rows["year"] = rows["year"].fillna(pd.to_numeric(rows["date"].str[:4], errors="coerce"))
    rows["source"] = rows["source"].where(rows["source"] != "", rows["origin"])
    return in_order(rows.assign(said=table.words_of(rows)))


def submitted_id(row: Any) -> str:
    return f"{row.dataset}:{row.protocol}:{SUBMITTED}:{row.system}"


def _system(streams: str, fusion: str) -> str:
    return f"DSTA-SLR, {table.stream_label(streams)}" + ("" if fusion == "none" else f", {fusion} weights")


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """By dataset, protocol (what is none of ours last), falling top-1, and fewer streams."""
    place = {name: f"{index:02}" for index, name in enumerate(PROTOCOLS)}
    order = {
        "_dataset": table.dataset_order(rows["dataset"]),
        "_protocol": rows["protocol"].map(lambda name: place.get(name, "~")),
        "_top1": -rows["top1_instance"],
        "_class": -rows["top1_class"],
        "_few": rows["streams"].str.count(r"\+"),
    }
    by = [*order, "streams", "fusion", "system"]
    return rows.assign(**order).sort_values(by, kind="stable", na_position="last").drop(columns=list(order))


def shortened(rows: pd.DataFrame) -> pd.DataFrame:
    """Of the rows in their own order, of the measured ones only the first of each dataset and protocol."""
    return rows[~((rows["kind"] == MEASURED) & rows.duplicated(["kind", "dataset", "protocol"]))]


def sort(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """By a column's name, `-` before it for falling: numbers as numbers, equals as they were, empty cells last."""
    if not by:
        return rows
    values = rows[by.lstrip("-")]
    if values.dtype == object:
        values = values.astype(str).str.casefold()
        values = values.where(values != "")
    order = values.sort_values(ascending=not by.startswith("-"), kind="stable", na_position="last")
    return rows.loc[order.index]


# ---- columns ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """name: of the rows' column, by which it sorts. write: a row -> HTML. about: what the head says when pointed at."""

    title: str
    name: str
    write: Callable[[Any], str]
    numeric: bool = False
    about: str = ""


def _text(title: str, name: str, word: Callable[[str], str] = str, about: str = "") -> Column:
    return Column(title, name, lambda row: escape(word(getattr(row, name))) or "–", False, about)


def _number(title: str, name: str, digits: int = 0, scale: float = 1.0) -> Column:
    return Column(title, name, lambda row: table.number(getattr(row, name) * scale, digits) or "–", True)


def _rate(name: str) -> Column:
    def write(row: Any) -> str:
        value = getattr(row, name)
        if row.kind == WITHDRAWN and name == "top1_instance" and not math.isnan(row.struck):
            return f"<s>{100 * row.struck:.6g}</s>"
        if math.isnan(value):
            return "–"
        return table.percent(value) if row.kind in (MEASURED, SUBMITTED) else f"{100 * value:.6g}"

    return Column(f"{table.MEASURES[name]} %", name, write, True)


def _interval(row: Any) -> str:
    return table.interval(row.top1_instance_lo, row.top1_instance_hi) or "–"


def _badge(row: Any) -> str:
    return f'<span class="badge {row.kind}" title="{KINDS[row.kind]}">{row.kind}</span>'


def source(row: Any) -> str:
    """Where a figure stands, as a link where its address is one of the web."""
    words = f"second-hand: {row.source}" if row.reading == "second-hand" and "quoted" not in row.source else row.source
    return _linked(words, row.url or row.source) or "–"


def _linked(words: str, url: str) -> str:
    if urlsplit(url).scheme not in ("https", "http"):
        return f"<span>{escape(words)}</span>" if words else ""
    return f'<a href="{escape(url)}" target="_blank" rel="noopener">{escape(words)}</a>'


FIXED = (
    _text("System", "system"),
    Column("Origin", "kind", _badge, about="measured here, submitted by others, or published elsewhere"),
    _rate("top1_instance"),
    Column("95 %", "top1_instance_lo", _interval, True, "where the true value lies, as far as so many clips can tell"),
    _rate("top5_instance"),
    _rate("top1_class"),
    _text("Input", "input"),
    _text("Protocol", "protocol"),
    _number("Clips", "n"),
    Column("Year", "year", lambda row: "–" if math.isnan(row.year) else f"{row.year:.0f}", True),
)
LAST = Column("Source", "source", source)
CHOICES: dict[str, Column] = {
    column.name: column
    for column in (
        _rate("top5_class"),
        _number("Latency ms", "latency_ms", 1),
        _number("M parameters", "parameters", 2, 1e-6),
        _number("Clips/s", "clips_per_second", 1),
        _number("Peak MB", "peak_memory_mb"),
        _number("Log-loss", "log_loss", 3),
        _number("ECE", "ece", 3),
        _text("Chosen by", "selection"),
        _text("Intervals", "interval"),
        _number("Glosses", "num_classes"),
        _text("Device", "device"),
        _text("Type", "dtype"),
        _text("Date", "date", lambda date: date[:10]),
        _text("Commit", "commit", lambda commit: commit[:8]),
    )
}
DATASET = _text("Dataset", "dataset")
COLUMNS = (DATASET, *FIXED, *CHOICES.values(), LAST)
WORDS = {"system": "who", "protocol": "how"}
"""Columns of words that have a width of their own in the sheet's style."""
NUMBERS = {*table.NUMBERS, "year", "struck"}
NEEDED = [*(column.name for column in COLUMNS), *table.COLUMNS, *SUBMITTED_COLUMNS, "struck", "reading", "url", "id"]


def columns(chosen: Sequence[str], several: bool) -> list[Column]:
    """What always stands in the sheet, and what was chosen. several: of more than one dataset."""
    return [*[DATASET] * several, *FIXED, *(CHOICES[name] for name in chosen), LAST]


# ---- HTML ------------------------------------------------------------------------------------------------------------


def sheet_html(rows: pd.DataFrame, shape: Sequence[Column], by: str, address: Callable[..., str]) -> str:
    """The sheet: heads that sort, rows that open. address: changes -> the address that has them.

    It is the same whichever row is open, so that a browser that opens one need not draw it anew.
    """
    head = "".join(_head(column, by, address) for column in shape)
    body = "".join(_line(row, shape, address) for row in rows.itertuples())
    return (
        f'<div class="lb-sheet" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _head(column: Column, by: str, address: Callable[..., str]) -> str:
    first, second = (f"-{column.name}", column.name) if column.numeric else (column.name, f"-{column.name}")
    order = {column.name: "ascending", f"-{column.name}": "descending"}.get(by, "none")
    sign = {"ascending": " ▲", "descending": " ▼", "none": ""}[order]
    href = escape(address(sort=second if by == first else first, page=1))
    kind = ' class="num"' if column.numeric else ' class="who"' if column.name == "system" else ""
    title = f' title="{escape(column.about)}"' if column.about else ""
    words = f'<a data-lb href="{href}"{title}>{escape(column.title).replace(" / ", " /<br>")}{sign}</a>'
    return f'<th scope="col" aria-sort="{order}"{kind}>{words}</th>'


def _line(row: Any, shape: Sequence[Column], address: Callable[..., str]) -> str:
    cells = []
    for column in shape:
        text = column.write(row)
        if row.id and column.name == "system":
            text = f'<a data-lb data-row="{escape(row.id)}" href="{escape(address(row=row.id))}">{text}</a>'
        elif column.name == "system":
            text = f'<span class="theirs">{_linked(row.system, row.url)}</span>'
        if column.name == "dataset":
            text = f'<a data-lb data-dataset href="{escape(address(dataset=row.dataset, page=1))}">{text}</a>'
        kind = " class=num" if column.numeric else f" class={WORDS[column.name]}" if column.name in WORDS else ""
        cells.append(f"<td{kind}>{text}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def pages(rows: int) -> int:
    """How many pages so many rows take."""
    return max(1, -(-rows // PAGE_ROWS))


def pager_html(rows: int, page: int, address: Callable[..., str]) -> str:
    """Which rows are shown, and the way to the others; empty where all of them are."""
    last = pages(rows)
    if last == 1:
        return ""
    first, end = PAGE_ROWS * (page - 1) + 1, min(rows, PAGE_ROWS * page)
    ways = {"first": 1, "previous": page - 1, "next": page + 1, "last": last}
    links = "".join(
        f'<a data-lb data-page="{name}" href="{escape(address(page=to))}">{name}</a>'
        for name, to in ways.items()
        if 1 <= to <= last and to != page
    )
    span = f"Rows {table.number(first)} – {table.number(end)} of {table.number(rows)}"
    return f'<nav class="lb-pages quiet small" aria-label="Pages of rows"><span>{span}</span>{links}</nav>'


def csv_text(rows: pd.DataFrame) -> str:
    """The rows with all columns that any of them has, fractions as they were measured or published."""
    there = [name for name in rows.columns if name not in ("id", "said") and (rows[name].astype(str) != "").any()]
    kept = [name for name in there if rows[name].notna().any()]
    return rows[kept].to_csv(index=False, lineterminator="\n")
