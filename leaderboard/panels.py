"""The leaderboard's panels: its words, and rows as HTML. Text from files is escaped."""

import json
import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from dsta.common import UserError
from leaderboard import table
from leaderboard.chart import OTHER, SERIES, Point, chart

UNITS = {"ms": "Latency", "M parameters": "Parameters", "clips/s": "Clips per second", "MB at most": "Memory"}

WAITING = '<div class="card"><p class="quiet">Reading the results …</p></div>'
NOTHING = f"""<div class="card lb"><h2 class="title">Nothing has been measured here yet</h2>
<p>This table shows what this program measured. Fill it with</p><pre>{table.COMMAND}</pre>
<p class="quiet">It scores every dataset and every combination of streams that it finds, and says why where it cannot.
Until then, only what others published stands below.</p></div>"""
FUSIONS_TEXT = """<p class="quiet small"><b>95 %</b>: where the true value lies, as far as that many clips can tell.
Where it is known whose takes the clips are, people or sources are resampled whole. <b>Chosen by</b>, among the columns
and in a row’s details: the clips that chose epoch, recipe and fusion.
<b>Fusion</b>: <i>published</i> weights were tuned by their authors on the labels they report; <i>equal</i> ones on
nothing; <i>fitted</i> ones on validation clips alone; <i>none</i>: a single stream.
⋮ in a column’s head sorts by that column, too, and goes before the order chosen above.</p>"""
BEST = """<p class="quiet small">The best row of each dataset and protocol, <b>chosen on the clips it is scored on</b>,
hence a little flattering: open a dataset to see all of its rows.</p>"""
NO_ROW = '<p class="note">No measured row fits these filters.</p>'
PUBLISHED_TEXT = """## Published elsewhere – not measured here
What others report of their own methods: listed by dataset and method, not ranked, never mixed with the table above.
*read*: in the source itself; *second-hand*: quoted by someone else; struck through and *withdrawn*: taken back by its
authors. Figures under another protocol, or an unknown one, cannot be compared; *not possible at n=*: no number of hits
among that many clips gives the figure. The protocol chosen above does not filter them."""
PICK = '<p class="quiet small">Select a row of the table: its command, origin and glosses appear here.</p>'


def status_html(folder: Path) -> tuple[str, table.Table | None]:
    """What stands above the table, and the results; None where there are none, or they cannot be read."""
    try:
        found = table.results(folder)
    except UserError as error:
        title = '<h2 class="title">The results cannot be shown</h2>'
        return f'<div class="card">{title}<p>{escape(str(error))}</p></div>', None
    if found.rows.empty:
        return NOTHING, None
    good = table.measured(found.rows)
    sets, latest = good["dataset"].nunique(), good["date"].max()[:10] if len(good) else ""
    said = f"{table.number(len(good))} rows measured here on {sets} datasets{latest and f', the latest on {latest}'}"
    said += ". Protocol, number of clips and interval stand beside each figure."
    return f'<p class="quiet">{escape(said)}</p>', found


def html_table(headers: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """A plain table that scrolls within itself; cells are escaped, columns in `numeric` stand to the right."""

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = [' class="num"' if place in numeric else "" for place in range(len(cells))]
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for cell, kind in zip(cells, kinds, strict=True))

    body = "".join(f"<tr>{line(cells, 'td')}</tr>" for cells in rows)
    return f'<div class="scroll"><table><tr>{line(headers, "th")}</tr>{body}</table></div>'


def plot_html(rows: pd.DataFrame, axis: str, overview: bool) -> str:
    """Accuracy against a cost: the best row of each dataset × protocol, or in a dataset of each choice of streams."""
    name, scale = table.AXES[axis]
    rows = table.ranked(rows[rows[name].notna()])
    rows = table.best(rows) if overview else rows.drop_duplicates(["dataset", "protocol", "streams"])
    if rows.empty:
        return f'<div class="card"><p class="quiet">No row here has a measured value for “{escape(axis)}”.</p></div>'
    points = []
    for row in rows.itertuples():
        streams = table.stream_label(row.streams)
        span = table.interval(row.top1_instance_lo, row.top1_instance_hi)
        who = f"{row.dataset}, {row.protocol}, {streams}, fusion {row.fusion}"
        x = getattr(row, name) * scale
        tip = f"{who}: {table.percent(row.top1_instance)} % ({span}), {x:.4g} {axis}"
        label = row.dataset[:16] if overview else table.stream_initials(row.streams)
        top1, low, high = (100 * share for share in (row.top1_instance, row.top1_instance_lo, row.top1_instance_hi))
        points.append(Point(x, top1, low, high, label, tip, row.protocol))
    title = f"Top-1 accuracy in percent against {axis.lower()}"
    pictures = [chart(points, axis, size, f"{title}: {len(points)} rows") for size in ((900, 380), (360, 360))]
    signs = {name: SERIES.get(name, OTHER) for name in sorted(set(rows["protocol"]))}
    legend = [f'<span><b style="color:{sign[2]}">{sign[1]}</b> {escape(name)}</span>' for name, sign in signs.items()]
    which = "the best row of each dataset and protocol" if overview else f"the best fusion of each; {table.INITIALS}"
    return f"""<div class="card lb"><h2 class="title">{escape(title)}</h2>{"".join(pictures)}
<p class="legend">{"".join(legend)}<span>bars: 95 %</span><span>{which}</span></p></div>"""


def missing_html(rows: pd.DataFrame) -> str:
    """What was not measured and why, folded; empty where nothing is missing."""
    summed = table.missing(rows)
    if summed.empty:
        return ""
    is_open = "" if len(table.measured(rows)) else " open"
    lines = [(row.dataset, row.status, str(row.rows), row.reason) for row in summed.itertuples()]
    body = html_table(("Dataset", "Status", "Rows", "Why"), lines, (2,))
    return f"""<div class="card lb"><details{is_open}><summary>Not measured: {table.number(summed["rows"].sum())}
of {table.number(len(rows))} rows, and why</summary>{body}</details></div>"""


def row_origin(row: Any) -> dict[str, str]:
    """Everything said of where a row came from: name -> text; what the file leaves empty is left out."""
    try:
        weighed = json.loads(row.fusion_weights)
        weights = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in weighed.items())
    except (ValueError, TypeError, AttributeError):
        weights = row.fusion_weights
    dirty = " – with uncommitted changes" if row.dirty.strip().lower() in ("true", "1", "yes", "dirty") else ""
    seconds = "" if math.isnan(row.seconds) else f"{row.seconds:.3g} s"
    device = " · ".join(part for part in (row.device, row.dtype, f"torch {row.torch}" if row.torch else "") if part)
    said = {"Chosen by": row.selection, "Intervals": row.interval, "Fusion weights": weights, "Recipe": row.recipe}
    said |= {"Run": " · ".join(filter(None, (row.run, row.run_sha256))), "Device": device, "Date": row.date}
    said |= {"Scoring took": seconds, "Commit": row.commit + dirty, "Weights sha256": row.weights_sha256}
    return {name: text for name, text in (said | {"Data sha256": row.data_sha256}).items() if text}


def detail_html(row: Any, glosses: pd.DataFrame, robustness: pd.DataFrame) -> str:
    """One measured row: its numbers, its command, where it came from, its glosses, its robustness."""
    rates = []
    for rate, name in table.MEASURES.items():
        low, high = getattr(row, f"{rate}_lo"), getattr(row, f"{rate}_hi")
        rates.append((name, table.percent(getattr(row, rate)) or "–", table.interval(low, high) or "–"))
    costs = [column.cell(row)[1] + f" {unit}" for unit, names in UNITS.items() for column in table.CHOICES[names]]
    said = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in row_origin(row).items())
    command = f"<pre>{escape(row.command)}</pre>" if row.command else '<p class="note">The row names no command.</p>'
    note = f'<p class="note">{escape(row.note)}</p>' if row.note else ""
    title = f"{row.dataset} · {table.stream_label(row.streams)} · fusion {row.fusion} · {row.protocol}"
    return f"""<div class="card lb"><h2 class="title">{escape(title)}</h2>
<p class="quiet">{table.number(row.n)} clips, {table.number(row.num_classes)} glosses · {" · ".join(costs)}</p>
<div class="two"><div>{html_table(("Accuracy", "%", "95 %"), rates, (1, 2))}</div>
<div><h3>The command that reproduces it</h3>{command}{note}</div></div>
<details><summary>Where it came from: weights, data, device, commit</summary><dl>{said}</dl></details>
{glosses_html(glosses)}{robustness_html(robustness, row)}</div>"""


def glosses_html(rows: pd.DataFrame) -> str:
    """The hardest glosses and the most confused pairs of a row."""
    if rows.empty:
        return '<p class="quiet small">Nothing is kept of this row’s single glosses.</p>'
    hard = [
        (row.gloss, f"{row.hits1:.0f} of {row.n:.0f}", f"{row.hits5:.0f}", row.confused_with)
        for row in table.hardest(rows).itertuples()
    ]
    pairs = [
        (row.gloss, row.confused_with, f"{row.confused_count:.0f} of {row.n:.0f}")
        for row in table.confused(rows).itertuples()
    ]
    hardest = html_table(("Gloss", "Right", "In first 5", "Mostly taken for"), hard, (1, 2))
    confused = html_table(("Gloss", "Taken for", "Clips"), pairs, (2,)) if pairs else "<p>None is confused.</p>"
    return f"""<div class="two"><div><h3>Hardest glosses</h3>{hardest}</div>
<div><h3>Most confused pairs</h3>{confused}</div></div>"""


def robustness_html(rows: pd.DataFrame, row: Any) -> str:
    """A curve for each disturbance, from undisturbed on; empty where none was measured."""
    curves = []
    for name, levels in rows[rows["disturbance"] != "none"].groupby("disturbance", sort=False):
        steps = [("none", row), *((table.level(name, step.level), step) for step in levels.itertuples())]
        points = []
        for place, (word, step) in enumerate(steps):
            top1, low, high = step.top1_instance, step.top1_instance_lo, step.top1_instance_hi
            tip = f"{word}: {table.percent(top1)} % ({table.interval(low, high)})"
            points.append(Point(place, 100 * top1, 100 * low, 100 * high, table.percent(top1), tip))
        title = str(name).replace("_", " ")
        picture = chart(points, "", (300, 190), f"Top-1 in percent, {title}", [word for word, _ in steps])
        curves.append(f"<figure>{picture}<figcaption>{escape(title)}</figcaption></figure>")
    charts = f'<div class="charts">{"".join(curves)}</div>'
    return f"<h3>Robustness: top-1 in percent under disturbance</h3>{charts}" if curves else ""
