"""Further tables of a data set, each of its own file: a few examples, unknown signs, disturbed clips.

Text from files is escaped.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from leaderboard import table
from leaderboard.panels import html_table, save_html

TITLES = {"fewshot": "A few examples", "unknown": "Unknown signs", "robustness": "Disturbed clips"}
FEW = """Signs that the network never learned, told apart by a few examples of each. <b>By</b>: the nearest mean of
the examples (prototype), a linear probe, or, as a baseline without a network, dynamic time warping. <b>Shots</b>:
examples of each gloss. <b>Glosses</b>: among how many is chosen. Means of 20 draws; intervals resample signers."""
UNKNOWN = """Whether a sign outside the vocabulary is told as one. <b>AUROC</b>: how often an unknown clip scores below
a known one; 0.5 is chance. <b>Known passed</b>, <b>unknown flagged</b>: at the threshold that nine tenths of the known
validation clips reach."""
DISTURBED = """Top-1 in percent on the same clips, disturbed: single joints missing, both hands missing in a share of
frames, noise on each joint (on a canvas of 512 pixels), fewer frames. The weights of the streams stay those for
undisturbed ones. As in the sheet, the best of each protocol or every combination. An opened row has the intervals."""


def studies_html(folder: Path, dataset: str, protocol: str = table.ANY, best: bool = False) -> str:
    """All tables that there are of a data set. best: of disturbed clips, the best system of each protocol alone.

    Raises UserError where a file cannot be read.
    """
    few, far, hard = (
        table.filtered(read(folder), dataset, protocol) for read in (table.fewshot, table.unknown, table.robustness)
    )
    return fewshot_html(few) + unknown_html(far) + disturbed_html(hard, best)


def _card(file: str, about: str, commands: Iterable[str], heads: Sequence[str], rows: Iterable[Sequence[str]],
          numeric: Iterable[int]) -> str:  # fmt: skip
    """A table with what it says and how it is made. file: of TITLES, and of the download; about: HTML; everything else
    is escaped."""
    lines, made = list(rows), [text for text in dict.fromkeys(commands) if text]
    if not lines:
        return ""
    how = "".join(f"<pre>{escape(text)}</pre>" for text in made)
    told = html_table(heads, lines, list(numeric))
    return f"""<div class="card lb"><h3>{TITLES[file]}</h3><p class="quiet small">{about}</p>
<div class="long">{told}</div>{how}{save_html(file)}</div>"""


def fewshot_html(rows: pd.DataFrame) -> str:
    """Signs known by a few examples; empty where none were measured."""
    lines = [
        (row.protocol, row.system, table.stream_label(row.streams), row.examples, f"{row.shots:.0f}",
         f"{row.ways:.0f}", table.number(row.n), table.percent(row.top1), table.interval(row.top1_lo, row.top1_hi),
         table.percent(row.top5))
        for row in rows.sort_values(["protocol", "shots", "top1"], ascending=[True, True, False]).itertuples()
    ]  # fmt: skip
    heads = ("Protocol", "By", "Streams", "Examples of", "Shots", "Glosses", "Clips", "Top-1 %", "95 %", "Top-5 %")
    return _card("fewshot", FEW, rows["command"], heads, lines, range(4, 10))


def unknown_html(rows: pd.DataFrame) -> str:
    """Signs outside the vocabulary; empty where none were measured."""
    lines = [
        (row.protocol, row.score, table.stream_label(row.streams), table.number(row.known), table.number(row.unknown),
         table.number(row.auroc, 3), f"{table.number(row.auroc_lo, 3)} – {table.number(row.auroc_hi, 3)}",
         table.percent(row.passed), table.percent(row.flagged), table.interval(row.flagged_lo, row.flagged_hi))
        for row in rows.sort_values(["protocol", "auroc"], ascending=[True, False]).itertuples()
    ]  # fmt: skip
    heads = ("Protocol", "Score", "Streams", "Known", "Unknown", "AUROC", "95 %", "Known passed %",
             "Unknown flagged %", "95 %")  # fmt: skip
    return _card("unknown", UNKNOWN, rows["command"], heads, lines, range(3, 10))


def disturbed_html(rows: pd.DataFrame, best: bool = False) -> str:
    """A line for each system and protocol, or for the best of each, a column for each disturbance; empty where none was
    measured."""
    found: dict[tuple[str, ...], dict[tuple[str, str], Any]] = {}
    for row in rows.itertuples():
        found.setdefault((row.protocol, row.streams, row.fusion), {})[row.disturbance, row.level] = row
    kinds = list(dict.fromkeys(kind for each in found.values() for kind in each if kind[0] != "none"))
    lines: list[tuple[tuple[str, float], list[str]]] = []
    for (protocol, streams, fusion), each in found.items():
        plain = next((row for (kind, _), row in each.items() if kind == "none"), None)
        cells = [_top1(row) for row in (plain, *(each.get(kind) for kind in kinds))]
        clips = table.number(max(row.n for row in each.values()))
        shown = [protocol, table.stream_label(streams), fusion, clips, *map(table.percent, cells)]
        lines.append(((protocol, -cells[0]), shown))
    lines.sort(key=lambda line: line[0])
    first = {protocol: line for (protocol, _), line in reversed(lines)}
    rest = [line for (protocol, _), line in lines if not best or line is first[protocol]]
    heads = ["Protocol", "Streams", "Weights", "Clips", "Undisturbed"]
    heads += [f"{kind} {table.level(kind, at)}" for kind, at in kinds]
    commands = [f"python eval/run_all.py --datasets {name} --robustness" for name in rows["dataset"].unique()]
    return _card("robustness", DISTURBED, commands, heads, rest, range(3, len(heads)))


def _top1(row: Any) -> float:
    return float("nan") if row is None else float(row.top1_instance)
