"""One row of the sheet, opened: its numbers, command and origin, its glosses and confusions, another row beside it.

Text from files is escaped.
"""

import functools
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dsta.common import UserError
from leaderboard import table
from leaderboard.chart import Point, chart, grid
from leaderboard.pairs import compare, sentence
from leaderboard.panels import html_table, save_html
from leaderboard.results import SCORES_FOLDER
from leaderboard.scores import RowScores, measured_scores, submitted_file, submitted_scores
from leaderboard.sheet import CHOICES, MEASURED

SCORED = ("dataset", "protocol", "streams", "fusion", "weights_sha256", "system", "predictions_sha256")
"""The columns by which a row's scores are found, and known to be its own."""
COSTS = ("latency_ms", "parameters", "clips_per_second", "peak_memory_mb")


def row_origin(row: Any) -> dict[str, str]:
    """Everything said of where a row came from: name -> text; what the file leaves empty is left out."""
    try:
        weighed = json.loads(row.fusion_weights)
        weights = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in weighed.items())
    except (ValueError, TypeError, AttributeError):
        weights = row.fusion_weights
    dirty = " – with uncommitted changes" if row.dirty.strip().lower() in ("true", "1", "yes", "dirty") else ""
    seconds = "" if pd.isna(row.seconds) else f"{row.seconds:.3g} s"
    device = " · ".join(part for part in (row.device, row.dtype, f"torch {row.torch}" if row.torch else "") if part)
    said = {"System": row.system if row.kind != MEASURED else "", "Origin": row.origin, "Trained on": row.trained_on}
    said |= {"Predictions sha256": row.predictions_sha256}
    said |= {"Chosen by": row.selection, "Intervals": row.interval, "Fusion weights": weights, "Recipe": row.recipe}
    said |= {"Run": " · ".join(filter(None, (row.run, row.run_sha256))), "Device": device, "Date": row.date}
    said |= {"Scoring took": seconds, "Commit": row.commit + dirty, "Weights sha256": row.weights_sha256}
    return {name: text for name, text in (said | {"Data sha256": row.data_sha256}).items() if text}


def scores_of(folder: Path, row: Any) -> RowScores:
    """What the row said of each clip. Raises UserError."""
    named = row._asdict()
    files = [folder / SCORES_FOLDER / row.dataset / name for name in ("scores.npz", "chosen.json")]
    if row.kind != MEASURED:
        files = [submitted_file(folder, named)]
    return _scores(folder, row.kind, tuple((name, named[name]) for name in SCORED), tuple(map(table.stamp, files)))


@functools.lru_cache(maxsize=4)  # of a large data set they take tens of megabytes
def _scores(
    folder: Path, kind: str, named: tuple[tuple[str, str], ...], stamps: tuple[tuple[int, int], ...]
) -> RowScores:
    """They are fused, and the weights of the streams fitted, anew once a file has changed."""
    return (measured_scores if kind == MEASURED else submitted_scores)(folder, dict(named))


def detail_html(folder: Path, row: Any, other: Any | None, rows: pd.DataFrame, without: str) -> str:
    """One row. other: the row to compare it with, if any. rows: of the sheet. without: the address that closes it."""
    rates = []
    for rate, name in table.MEASURES.items():
        low, high = getattr(row, f"{rate}_lo"), getattr(row, f"{rate}_hi")
        rates.append((name, table.percent(getattr(row, rate)) or "–", table.interval(low, high) or "–"))
    costs = [f"{CHOICES[name].title}: {text}" for name in COSTS if (text := CHOICES[name].write(row)) != "–"]
    said = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in row_origin(row).items())
    command = f"<pre>{escape(row.command)}</pre>" if row.command else '<p class="note">The row names no command.</p>'
    note = f'<p class="note">{escape(row.note)}</p>' if row.note else ""
    title = f"{row.dataset} · {row.system} · {row.protocol}"
    clips = f"{table.number(row.n)} clips, {table.number(row.num_classes)} glosses"
    try:
        told = confusion_html(scores_of(folder, row))
    except UserError as error:  # the large file of glosses is read then alone
        glosses = table.find(table.glosses(folder), row.id.split(":")) if row.kind == MEASURED else pd.DataFrame()
        told = glosses_html(glosses, str(error))
    return f"""<div class="card lb"><a class="close" data-lb data-close href="{escape(without)}">Close</a>
<h3 tabindex="-1">{escape(title)}</h3>
<p class="quiet">{" · ".join([clips, *costs])}</p>
<div class="two"><div>{html_table(("Accuracy", "%", "95 %"), rates, (1, 2))}</div>
<div><h4>The command that reproduces it</h4>{command}{note}</div></div>
<details><summary>Where it came from: weights, data, device, commit</summary><dl>{said}</dl></details>
{comparison_html(folder, row, other, rows)}
{told}
{robustness_html(table.find(table.robustness(folder), row.id.split(":")), row) if row.kind == MEASURED else ""}</div>"""


# ---- another row beside it -------------------------------------------------------------------------------------------


def comparison_html(folder: Path, row: Any, other: Any | None, rows: pd.DataFrame) -> str:
    """A choice of rows of the same data set, and the paired test with the one that is chosen."""
    same = rows[(rows["dataset"] == row.dataset) & (rows["id"] != "") & (rows["id"] != row.id)]
    if same.empty:
        return ""
    offered = "".join(
        f'<option value="{escape(one.id)}"{" selected" * (other is not None and one.id == other.id)}>'
        f"{escape(f'{one.system} · {one.protocol} · {table.percent(one.top1_instance)} %')}</option>"
        for one in same.itertuples()
    )
    found = "" if other is None else _paired(folder, row, other)
    none = '<option value="">choose a row …</option>'
    return f"""<h4>Compare clip by clip</h4><label class="lb-other"><span class="quiet small">with</span>
<select data-lb-other>{none}{offered}</select></label>{found}"""


def _paired(folder: Path, row: Any, other: Any) -> str:
    try:
        a, b = (scores_of(folder, each).predictions for each in (row, other))
        result = compare(a, b)
    except UserError as error:
        return f'<p class="note">{escape(str(error))}</p>'
    text = sentence(result, a.kind, (len(a.names), len(b.names)))
    sides = [(f"A: {row.system}", row.protocol, table.percent(row.top1_instance))]
    sides.append((f"B: {other.system}", other.protocol, table.percent(other.top1_instance)))
    both = [("A right", f"{result.n - _wrong(a, b)[0]}"), ("B right", f"{result.n - _wrong(a, b)[1]}")]
    both += [
        ("only A right", str(result.only_a)),
        ("only B right", str(result.only_b)),
        ("clips of both", str(result.n)),
    ]
    lines = "".join(f"<p>{escape(line)}</p>" for line in text.splitlines())
    return f"""<div class="two"><div>{html_table(("Row", "Protocol", "Top-1 %"), sides, (2,))}</div>
<div>{html_table(("Top-1, of the same clips", "Clips"), both, (1,))}</div></div>{lines}"""


def _wrong(a: Any, b: Any) -> tuple[int, int]:
    """Of the clips that both scored, how many each got wrong."""
    _, in_a, in_b = np.intersect1d(a.names, b.names, return_indices=True)
    return int((a.rank[in_a] > 0).sum()), int((b.rank[in_b] > 0).sum())


# ---- glosses and confusions ------------------------------------------------------------------------------------------


def confusion_html(scores: RowScores) -> str:
    """Every gloss, every confusion, and the matrix of all classes, of the scores that are kept."""
    k, names = len(scores.glosses), scores.glosses.tolist()
    matrix = np.zeros((k, k), int)
    np.add.at(matrix, (scores.labels, scores.predicted), 1)
    counts, rank = matrix.sum(1), scores.rank
    right = np.bincount(scores.labels, rank < 1, k).astype(int)
    within = np.bincount(scores.labels, rank < 5, k).astype(int)
    places = sorted(np.flatnonzero(counts), key=lambda place: (right[place] / counts[place], -counts[place]))
    every = []
    for place in places:
        wrong = [
            other for other in np.argsort(-matrix[place], kind="stable") if other != place and matrix[place, other]
        ]
        taken = ", ".join(f"{names[other]} {matrix[place, other]}" for other in wrong)
        every.append((names[place], f"{right[place]} of {counts[place]}", f"{within[place]}", taken))
    return f"""<h4>All {len(every)} glosses, the hardest first</h4>
{searched(html_table(("Gloss", "Right", "In first 5", "Taken for"), every, (1, 2)), "a gloss")}
{save_html("answers", "Download its answers, clip by clip (CSV)")}
<details><summary>Confusion matrix, {k} × {k}</summary><div class="scroll">{_matrix(matrix, names)}</div>
<p class="quiet small">A row for each true gloss, a column for each answer, in alphabetical order; point at a square to
read it. From the scores that ship, in half precision: a clip in a near tie may stand elsewhere than in the row.</p>
</details>"""


def _matrix(matrix: np.ndarray, names: Sequence[str]) -> str:
    order = np.array(sorted(range(len(names)), key=lambda place: names[place].casefold()))
    ordered, words = matrix[np.ix_(order, order)], [names[place] for place in order]
    shares = ordered / np.maximum(ordered.sum(1, keepdims=True), 1)
    cells = {}
    for true, answer in zip(*np.nonzero(ordered), strict=True):
        tip = f"{words[true]} taken for {words[answer]}" if true != answer else f"{words[true]} right"
        cells[int(true), int(answer)] = (float(shares[true, answer]), f"{tip}: {ordered[true, answer]} clips")
    return grid(cells, words, "Confusion matrix: true glosses down, answers across")


def searched(table_html: str, what: str) -> str:
    """A table in a box that scrolls, with a field that leaves the lines in which its words are found."""
    return f"""<div class="lb-searched"><input type="search" data-lb-search placeholder="find {what}"
aria-label="find {what}">{table_html}</div>"""


def glosses_html(rows: pd.DataFrame, why: str) -> str:
    """Every gloss of a row of whose clips no scores are kept, with the one that it is mostly taken for."""
    if rows.empty:
        return f'<p class="quiet small">Nothing is kept of this row’s single glosses. {escape(why)}</p>'
    hard = [
        (row.gloss, f"{row.hits1:.0f} of {row.n:.0f}", f"{row.hits5:.0f}", row.confused_with,
         f"{row.confused_count:.0f}" if row.confused_with else "")
        for row in table.hardest(rows).itertuples()
    ]  # fmt: skip
    heads = ("Gloss", "Right", "In first 5", "Mostly taken for", "Clips")
    return f"""<h4>All {len(hard)} glosses, the hardest first</h4>
{searched(html_table(heads, hard, (1, 2, 4)), "a gloss")}"""


# ---- robustness ------------------------------------------------------------------------------------------------------


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
    return f"<h4>Robustness: top-1 in percent under disturbance</h4>{charts}" if curves else ""
