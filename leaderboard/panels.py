"""The leaderboard's panels: its words, and rows as HTML. Text from files is escaped."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from dsta.common import UserError
from leaderboard import sheet, table
from leaderboard.chart import OTHER, SERIES, Point, chart
from leaderboard.datasets import DatasetFacts, comparable
from leaderboard.published import IMPOSSIBLE

MOST_POINTS = 120  # in a plot: more of them hide each other

WAITING = '<div class="card"><p class="quiet">Reading the results …</p></div>'
NOTHING = f"""<div class="card lb"><h2 class="title">Nothing has been measured here yet</h2>
<p>This table shows what this program measured. Fill it with</p><pre>{table.COMMAND}</pre>
<p class="quiet">It scores every dataset and every combination of streams that it finds, and says why where it cannot.
Until then, only what others published and submitted stands below.</p></div>"""
SHEET_TEXT = """<p class="quiet small">A click on a head sorts, a click on a system opens the row.
<b>95 %</b>: where the true value lies, as far as that many clips can tell; where it is known whose takes the clips
are, people or sources are resampled whole. <b>Weights</b> of the streams: <i>published</i> ones were tuned by their
authors on the labels they report, <i>equal</i> ones on nothing, <i>fitted</i> ones on validation clips alone. Published
figures of another protocol, or an unknown one, cannot be compared; <i>not possible at n=</i>: no number of hits among
that many clips gives the figure; <s>struck through</s>: its authors took it back. Scores of single clips ship with the
rows: <code>python eval/recompute.py</code> makes these again, without data or weights. To add a row, see
docs/submit.md.</p>"""
BEST = """<p class="quiet small">Of the measured rows, the best of each dataset and protocol, <b>chosen on the clips it
is scored on</b>, hence a little flattering: ask for every combination to see all of them.</p>"""
NO_ROW = '<p class="note">No row fits these filters.</p>'


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
    said = f"{table.number(len(good))} rows measured here on {sets} datasets{latest and f', the latest on {latest}'}."
    return f'<p class="quiet">{escape(said)}</p>', found


def html_table(headers: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """A plain table that scrolls within itself; cells are escaped, columns in `numeric` stand to the right."""

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = [' class="num"' if place in numeric else "" for place in range(len(cells))]
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for cell, kind in zip(cells, kinds, strict=True))

    body = "".join(f"<tr>{line(cells, 'td')}</tr>" for cells in rows)
    return f'<div class="scroll"><table><tr>{line(headers, "th")}</tr>{body}</table></div>'


def save_html(kind: str, words: str = "Download (CSV)") -> str:
    """What gives a file of leaderboard/download.py when it is clicked."""
    return f'<button type="button" data-lb-file="{kind}">{words}</button>'


def about_html(facts: DatasetFacts, rows: pd.DataFrame) -> str:
    """What a data set is; its best measured and published figures, and whether these can be compared.

    rows: of the sheet, of this data set.
    """
    language = f"{facts.language} Sign Language" if facts.language else ""
    said = {"Language": language, "Glosses": facts.glosses, "Clips": facts.clips, "Signers": facts.signers}
    said |= {"Split": facts.split, "Licence": facts.licence}
    known = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in said.items() if text)
    known += f"<dt>Link</dt><dd>{_link(facts.url)}</dd>" if facts.url else ""
    measured, published = rows[rows["kind"] == sheet.MEASURED], rows[rows["kind"] == sheet.PUBLISHED]
    return f"""<div class="card lb"><h3>{escape(facts.name)}</h3><div class="two"><dl>{known}</dl>
<div>{_best_measured(facts, measured)}{_best_published(facts.name, published, measured)}</div></div></div>"""


def _link(url: str) -> str:
    return f'<a href="{escape(url)}" target="_blank" rel="noopener">{escape(url.removeprefix("https://"))}</a>'


def _best_measured(facts: DatasetFacts, measured: pd.DataFrame) -> str:
    how = f"<p>{escape(facts.get)}</p><pre>{escape(facts.command)}</pre>" if facts.command else ""
    if measured.empty:
        return f"<h4>Not measured here: its data are not here</h4>{how}"
    data = f"<details><summary>How to get its data</summary>{how}</details>" if how else ""
    row = next(measured.itertuples())
    span = table.interval(row.top1_instance_lo, row.top1_instance_hi)
    clips = f"{table.number(row.n)} clips, {escape(row.protocol)}"
    many = int(((measured["protocol"] == row.protocol) & measured["top1_instance"].notna()).sum())
    picked = f", the best of {many} combinations on these very clips, hence a little flattering" if many > 1 else ""
    return f"""<h4>Best measured</h4><p><b>{table.percent(row.top1_instance)} %</b> ({span}) – {escape(row.system)};
{clips}{picked}.</p><pre>{escape(row.command)}</pre>{data}"""


def _best_published(name: str, published: pd.DataFrame, measured: pd.DataFrame) -> str:
    """The best published figures on the clips of an official protocol, of any input and of poses, and one that is
    higher, if any."""
    scored = published[published["top1_instance"].notna()].sort_values("top1_instance", ascending=False, kind="stable")
    if scored.empty:
        return "<h4>Published</h4><p>No figure of others is known.</p>"
    fits = [comparable(name, *clips) for clips in zip(scored["protocol"], scored["n"], strict=True)]
    lines, same = [], scored[fits]
    if len(same):
        best = list(same.drop_duplicates("input").itertuples())
        shown = [row for row in best if row.Index == best[0].Index or row.input == "pose"]
        told = "".join(f"<p>{_figure(row)}. {_whether(row, measured)}.</p>" for row in shown)
        lines.append(f"<h4>Best published on official clips</h4>{told}")
    first = next(scored.itertuples())
    if not fits[0]:
        why = (
            "no number of hits among so many clips gives it"
            if IMPOSSIBLE in first.protocol
            else "which clips were scored is not known"
        )
        lines.append(f"<h4>Highest published</h4><p>{_figure(first)}. It cannot be compared: {why}.</p>")
    return "".join(lines)


def _figure(row: Any) -> str:
    year = "" if math.isnan(row.year) else f" ({row.year:.0f})"
    clips = "" if math.isnan(row.n) else f", {table.number(row.n)} clips"
    said = f"{escape(row.system)}{year}, {escape(row.input)}; {escape(row.protocol)}{clips}; {sheet.source(row)}"
    return f"<b>{100 * row.top1_instance:.6g} %</b> – {said}"


def _whether(row: Any, measured: pd.DataFrame) -> str:
    ours = measured[(measured["protocol"] == row.protocol) & (measured["n"] == row.n)]
    if ours.empty:
        return "Nothing was measured here on these clips"
    first = next(ours.itertuples())
    span = table.interval(first.top1_instance_lo, first.top1_instance_hi)
    inside = first.top1_instance_lo <= row.top1_instance <= first.top1_instance_hi
    said = "an interval that holds this figure" if inside else "an interval that does not hold this figure"
    other = "" if row.input == "pose" else f", though from {escape(row.input)}, not from joints alone"
    return f"The same clips as ours{other}: ours is {table.percent(first.top1_instance)} % ({span}), {said}"


def plot_html(rows: pd.DataFrame, axis: str, overview: bool) -> str:
    """Accuracy against a cost: the best row of each dataset × protocol, or in a dataset of each choice of streams."""
    name, (axis, scale) = axis, table.AXES[axis]
    rows = table.ranked(rows[rows[name] > 0])
    rows = table.best(rows) if overview else rows.drop_duplicates(["dataset", "protocol", "streams"])
    many, rows = len(rows), rows.nlargest(MOST_POINTS, "top1_instance") if len(rows) > MOST_POINTS else rows
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
    which += f"; the first {MOST_POINTS} of {many}" if many > MOST_POINTS else ""
    return f"""<div class="card lb"><h2 class="title">{escape(title)}</h2>{"".join(pictures)}
<p class="legend">{"".join(legend)}<span>bars: 95 %</span><span>{which}</span></p></div>"""


def changes_html(rows: pd.DataFrame) -> str:
    """When rows were measured and submitted, newest first, folded; empty where none was. rows: of the sheet."""
    made = rows[rows["kind"].isin([sheet.MEASURED, sheet.SUBMITTED]) & (rows["date"] != "")]
    if made.empty:
        return ""
    dirty = made["dirty"].str.lower().map({"true": "+"}).fillna("")
    of = {"day": made["date"].str[:10], "at": made["commit"].str[:12] + dirty}
    counted = made.assign(**of).groupby(["day", "dataset", "kind", "at"]).size().reset_index(name="rows")
    newest = counted.sort_values(["day", "dataset"], ascending=[False, True], kind="stable")
    lines = [(row.day, row.dataset, table.number(row.rows), row.kind, row.at) for row in newest.itertuples()]
    body = html_table(("Date", "Dataset", "Rows", "Origin", "Commit"), lines, (2,))
    return f"""<div class="card lb"><details><summary>What changed, by date</summary>{body}
<p class="quiet small">The dates of the rows that are here now; a + says that the code had uncommitted changes.</p>
</details></div>"""


def missing_html(rows: pd.DataFrame, measured: int) -> str:
    """What was not measured and why, folded; empty where nothing is missing. measured: how many rows are."""
    summed = table.missing(rows)
    if summed.empty:
        return ""
    is_open = "" if measured else " open"
    lines = [(row.dataset, row.status, str(row.rows), row.reason) for row in summed.itertuples()]
    body = html_table(("Dataset", "Status", "Rows", "Why"), lines, (2,))
    return f"""<div class="card lb"><details{is_open}><summary>Not measured: {table.number(summed["rows"].sum())}
of {table.number(len(rows) + measured)} rows, and why</summary>{body}</details></div>"""
