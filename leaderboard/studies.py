"""Further tables, each of its own file: a few examples, unknown signs and disturbed clips of a data set; speed.

Text from files is escaped.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from dsta.common import UserError
from leaderboard import table
from leaderboard.panels import html_table, save_html

TITLES = {"fewshot": "A few examples", "unknown": "Unknown signs", "robustness": "Disturbed clips",
          "speed": "Speed"}  # fmt: skip
FEW = """Signs that the network never learned, told apart by a few examples of each. <b>By</b>: the nearest mean of
the examples (prototype), a linear probe, or, as a baseline without a network, dynamic time warping. <b>Shots</b>:
examples of each gloss. <b>Glosses</b>: among how many is chosen. Means of 20 draws; intervals resample signers."""
UNKNOWN = """Whether a sign outside the vocabulary is told as one. <b>AUROC</b>: how often an unknown clip scores below
a known one; 0.5 is chance. <b>Known passed</b>, <b>unknown flagged</b>: at the threshold that nine tenths of the known
validation clips reach."""
DISTURBED = """Top-1 in percent on the same clips, disturbed: single joints missing, both hands missing in a share of
frames, noise on each joint (on a canvas of 512 pixels), fewer frames. The weights of the streams stay those for
undisturbed ones. As in the sheet, the best of each protocol or every combination. An opened row has the intervals."""
SPEED = """Milliseconds a clip, from prepared input to logits, in the median; <b>×</b>: how many times as fast as plain
fp32, measured in turns with it. <b>Plain</b>: the network as it trains; <b>folded</b>: the same function put together
for inference, in which rows are scored. <b>Reference</b>: the size of the paper's networks; <b>compact</b>: of the
weights that come along. A network scores a stream. Another machine has other milliseconds; the ratios carry further."""
FORMS = {"Plain fp32": ("plain", "fp32"), "Folded fp32": ("folded", "fp32"), "Folded bf16": ("folded", "bf16"),
         "Plain bf16": ("plain", "bf16")}  # fmt: skip
SIZES = {"full": "reference"}
PARTS = {"decode": "reading its frames alone", "joints": "joints, frames included", "network": "networks"}


def studies_html(folder: Path, dataset: str, protocol: str = table.ANY, best: bool = False) -> str:
    """All tables that there are of a data set. best: of disturbed clips, the best system of each protocol alone."""

    def chosen(read: Callable[[Path], pd.DataFrame]) -> pd.DataFrame:
        return table.filtered(read(folder), dataset, protocol)

    return (
        _or_why("fewshot", lambda: fewshot_html(chosen(table.fewshot)))
        + _or_why("unknown", lambda: unknown_html(chosen(table.unknown)))
        + _or_why("robustness", lambda: disturbed_html(chosen(table.robustness), best))
    )


def _or_why(file: str, write: Callable[[], str]) -> str:
    """A table, or why its file cannot be read, which leaves the others alone."""
    try:
        return write()
    except UserError as error:
        return f'<div class="card lb"><h3>{TITLES[file]}</h3><p class="note">{escape(str(error))}</p></div>'


def _card(file: str, about: str, commands: Iterable[str], heads: Sequence[str], rows: Iterable[Sequence[str]],
          numeric: Iterable[int]) -> str:  # fmt: skip
    """A table with what it says and how it is made. file: of TITLES, and of the download; about: HTML; everything else
    is escaped."""
    lines = list(rows)
    if not lines:
        return ""
    told = html_table(heads, lines, list(numeric))
    return _framed(file, about, f'<div class="long">{told}</div>', commands)


def _framed(file: str, about: str, body: str, commands: Iterable[str]) -> str:
    how = "".join(f"<pre>{escape(text)}</pre>" for text in dict.fromkeys(commands) if text)
    return f"""<div class="card lb"><h3>{TITLES[file]}</h3><p class="quiet small">{about}</p>
{body}{how}{save_html(file)}</div>"""


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


def speed_html(folder: Path) -> str:
    """How long networks and whole clips take, machine by machine; empty where nothing was measured."""

    def write() -> str:
        rows = table.speed(folder)
        if rows.empty:
            return ""
        machines = rows.groupby(["device", "threads"], sort=False)
        return _framed("speed", SPEED, "".join(_machine_html(*each) for each in machines), rows["command"])

    return _or_why("speed", write)


def _machine_html(where: tuple[str, str], rows: pd.DataFrame) -> str:
    """What was measured on a device by so many threads, and when."""
    device, threads = where
    title = device + (f", {threads} thread{'s' * (threads != '1')}" if threads else "")
    made = [
        f"torch {row.torch}, commit {row.commit[:12]}{'+' * (row.dirty.lower() == 'true')}, {row.date[:10]}"
        for row in rows.drop_duplicates(["torch", "commit", "dirty", "date"]).itertuples()
    ]
    load = rows["load"].max()
    busy = f". Other work ran beside it (load {load:.1f})" if load > 0.5 else ""
    networks = rows[(rows["milliseconds"] > 0) & (rows["batch"] > 0)]
    told = "".join(_size_html(*each) for each in networks.groupby("size"))
    return (
        f'<h4>{escape(title)}</h4>{_clips_html(rows)}{told}<p class="quiet small">{escape("; ".join(made) + busy)}.</p>'
    )


def _size_html(size: str, rows: pd.DataFrame) -> str:
    """The networks of a size: a line for so many of them, clips at once and frames."""
    ordered = rows.sort_values(["streams", "batch", "frames"], ascending=[False, True, True])
    lines = [_speed_line(*each) for each in ordered.groupby(["streams", "batch", "frames"], sort=False)]
    heads = [SIZES.get(size, size).capitalize(), "Clips at once", "Frames", "Plain fp32"]
    heads += [head for form in list(FORMS)[1:] for head in (form, "×")] + ["Most clips/s", "Folding ms, once"]
    return f'<div class="speeds">{html_table(heads, lines, range(1, len(heads)))}</div>'


def _speed_line(setting: tuple[Any, ...], rows: pd.DataFrame) -> list[str]:
    """The forms of a network side by side. setting: streams, batch, frames."""
    streams, batch, frames = setting
    found = {(row.what, row.form, row.dtype): row for row in rows.itertuples()}
    cells = []
    for form in FORMS.values():
        row = found.get(("network", *form))
        cells += [_short(row.milliseconds / batch), _short(row.ratio)] if row else ["", ""]
    del cells[1]  # plain fp32 is as fast as itself
    quickest = min((row.milliseconds for (what, *_), row in found.items() if what == "network"), default=math.nan)
    once = found.get(("fold", "folded", "fp32"))
    inputs = "1 stream" if streams == 1 else f"{streams:.0f} streams"
    return [
        inputs,
        f"{batch:.0f}",
        f"{frames:.0f}",
        *cells,
        _short(1e3 * batch / quickest),
        _short(once.milliseconds) if once else "",
    ]


def _clips_html(rows: pd.DataFrame) -> str:
    """From the video file to the gloss, in the clip's own durations."""
    said = []
    for weights, parts in rows[(rows["what"] == "clip") & (rows["ratio"] > 0)].groupby("size", sort=False):
        share = {row.form: _short(1 / row.ratio) for row in parts.itertuples()}
        told = "; ".join(f"{words} {share[part]}" for part, words in PARTS.items() if part in share)
        many, whole = table.number(parts["repeats"].max()), share.get("whole", "?")
        said.append(
            f"From the video file to the gloss: <b>{whole}</b> of the clip's duration in the median of {many} videos, "
            f"with weights/{escape(str(weights))} ({told})."
        )
    return "".join(f"<p>{text}</p>" for text in said)


def _short(value: float) -> str:
    """With three digits or so."""
    return table.number(value, 0 if value >= 100 else 1 if value >= 10 else 2)
