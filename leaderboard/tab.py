"""The leaderboard's tab: rows of results as a page. Call `build_tab()` among the page's tabs, and launch the page with
STYLES and SCRIPT.

What is looked at stands in the page's address (leaderboard/address.py): filters, heads and rows change the address, and
what is shown follows it, so that a link says all and the browser's Back works. The files are read when the tab is
opened, and again when they have changed. Everything is drawn here, nothing is loaded from elsewhere.
"""

import functools
import hashlib
import re
import threading
from contextlib import suppress
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
import pandas as pd
from gradio.utils import get_upload_folder

from dsta.common import UserError, replace_file
from leaderboard import address, download, panels, sheet, table
from leaderboard.address import Filters
from leaderboard.datasets import facts
from leaderboard.detail import detail_html
from leaderboard.published import PUBLISHED, published
from leaderboard.results import (
    FEWSHOT_FILE,
    OUT,
    PROTOCOLS,
    RESULTS_FILE,
    ROBUSTNESS_FILE,
    SPEED_FILE,
    SUBMITTED_FILE,
    UNKNOWN_FILE,
)
from leaderboard.studies import speed_html, studies_html

STYLES = tuple(Path(__file__).with_name(name) for name in ("style.css", "sheet.css"))
FILES = (RESULTS_FILE, SUBMITTED_FILE, FEWSHOT_FILE, UNKNOWN_FILE, ROBUSTNESS_FILE, SPEED_FILE)
SCRIPT = Path(__file__).with_name("page.js")
"""Defines `window.leaderboard`, whose functions the tab's events call."""
_SAVING = threading.Lock()  # visitors who save the same write the same file


def names(folder: Path) -> list[str]:
    """The datasets that were measured, submitted or published, or were to be."""
    return list(_names(folder, stamps(folder)))


@functools.lru_cache(maxsize=4)
def _names(folder: Path, stamps: tuple[tuple[int, int], ...]) -> list[str]:
    """They are put together anew once a file has changed."""
    found = panels.status_html(folder)[1]
    measured = [] if found is None else [found.rows["dataset"]]
    return table.dataset_names(*measured, published()["benchmark"])


def asked(folder: Path, query: str) -> tuple[Filters, list[str]]:
    return address.parse(query, names(folder))


def stamps(folder: Path) -> tuple[tuple[int, int], ...]:
    """By which it is known whether any of the files has changed."""
    return tuple(map(table.stamp, (*(folder / name for name in FILES), PUBLISHED)))


def all_entries(folder: Path) -> pd.DataFrame:
    """All rows of the sheet; where results.csv cannot be read, those of other origin alone. Raises UserError."""
    return _entries(folder, stamps(folder))


@functools.lru_cache(maxsize=4)
def _entries(folder: Path, stamps: tuple[tuple[int, int], ...]) -> pd.DataFrame:
    """They are put together anew once a file has changed."""
    found = panels.status_html(folder)[1]
    measured = table.measured(found.rows) if found else table.results(folder / "none").rows
    return sheet.entries(measured, table.submitted(folder), published())


def view(folder: Path, query: str) -> dict[str, Any]:
    """All that an address decides: panel -> its new content."""
    filters, strange = asked(folder, query)
    try:
        every = all_entries(folder)
        detail = _opened(folder, filters, every)
        listed, count, page = _listed(folder, stamps(folder), replace(filters, row="", other=""))
        around = _around(folder, stamps(folder), replace(filters, sort="", row="", other="", columns=(), page=1))
    except UserError as error:
        bad = f'<div class="card"><h3>The results cannot be shown</h3><p>{escape(str(error))}</p></div>'
        return dict.fromkeys(("about", "sheet", "note", "detail", "studies", "plot", "speed", "missing"), "") | {
            "status": bad
        }
    if filters.page != page:
        strange.append(f"page={filters.page}")
    told = f'<p class="note">The address names nothing by {escape(", ".join(strange))}.</p>' if strange else ""
    save = gr.Button(f"Download {table.number(count)} rows (CSV)", interactive=count > 0)
    own = {"status": around["status"] + told, "sheet": listed, "detail": detail, "save": save}
    return around | own | {"plotted": gr.Column(visible=around["plot"] != "")}


@functools.lru_cache(maxsize=32)
def _around(folder: Path, stamps: tuple[tuple[int, int], ...], filters: Filters) -> dict[str, str]:
    """The panels that stay as they are when rows are sorted, opened or compared. Raises UserError."""
    status, found = panels.status_html(folder)
    every = all_entries(folder)
    rows = table.filtered(every, filters.dataset, filters.protocol, filters.search)
    absent = found.rows[found.rows["status"] != "ok"] if found else every.iloc[:0].assign(status="", reason="")
    absent = table.filtered(absent, filters.dataset, filters.protocol, filters.search)
    good = rows[rows["kind"] == sheet.MEASURED]
    whole, best = filters.dataset == table.ALL, filters.rows == address.BEST
    own = every[every["dataset"] == filters.dataset]
    return {
        "status": status,
        "about": "" if whole else panels.about_html(facts(filters.dataset), own),
        "note": (panels.BEST if best else "") + panels.SHEET_TEXT,
        "studies": "" if whole else studies_html(folder, filters.dataset, filters.protocol, best),
        "plot": panels.plot_html(good, filters.axis, whole) if len(good) else "",
        "speed": _speed(folder, stamps),
        "missing": panels.missing_html(absent, len(good)) + panels.changes_html(rows),
    }


@functools.lru_cache(maxsize=4)
def _speed(folder: Path, stamps: tuple[tuple[int, int], ...]) -> str:
    """It is the same whatever the filters are."""
    return speed_html(folder)


def unlike(content: dict[str, Any], has: str) -> tuple[dict[str, Any], str]:
    """Of the panels those that the browser does not have, and what it has then. has: a line `panel hash` for each."""
    texts = {name: part if isinstance(part, str) else str(part.constructor_args) for name, part in content.items()}
    lines = {name: f"{name} {hashlib.sha256(text.encode()).hexdigest()}" for name, text in texts.items()}
    known = has.splitlines()
    return {name: part for name, part in content.items() if lines[name] not in known}, "\n".join(lines.values())


@functools.lru_cache(maxsize=32)
def _listed(folder: Path, stamps: tuple[tuple[int, int], ...], filters: Filters) -> tuple[str, int, int]:
    """A page of the sheet, how many rows fit the filters, and which page that is: the last where there are fewer.
    Raises UserError."""
    rows = table.filtered(all_entries(folder), filters.dataset, filters.protocol, filters.search)
    shown = rows if filters.rows == address.EVERY else sheet.shortened(rows)
    page = min(filters.page, sheet.pages(len(shown)))
    return _sheet(shown, replace(filters, page=page)), len(rows), page


def _sheet(rows: pd.DataFrame, filters: Filters) -> str:
    if rows.empty:
        return panels.NO_ROW
    to = functools.partial(address.link, filters)
    shape = sheet.columns(filters.columns, filters.dataset == table.ALL)
    ordered = sheet.sort(rows, filters.sort)
    page = ordered.iloc[sheet.PAGE_ROWS * (filters.page - 1) : sheet.PAGE_ROWS * filters.page]
    html = sheet.sheet_html(page, shape, filters.sort, to)
    return html + sheet.pager_html(len(ordered), filters.page, to)


def _opened(folder: Path, filters: Filters, every: pd.DataFrame) -> str:
    """The panel of the row that the address names."""
    if not filters.row:
        return ""
    row, other = (
        next(every[every["id"] == (name or None)].itertuples(), None) for name in (filters.row, filters.other)
    )
    lost = '<p class="note">The address names a row that is not, or no longer, in the results.</p>'
    if row is None:
        return lost
    told = lost if filters.other and other is None else ""
    return told + detail_html(folder, row, other, every, address.link(Filters(filters.dataset)))


def save(folder: Path, query: str) -> str:
    """What an address asks for -> a CSV file, which gradio deletes in time. Beside what decides the view it has `file`,
    one of download.KINDS; by default the chosen rows, complete. Raises UserError.

    The same text is the same file, with a new time: asked for again and again it takes no more room.
    """
    filters, _ = asked(folder, query)
    said = dict(parse_qsl(query.lstrip("?"))).get("file", "")
    kind = said if said in download.KINDS else download.ROWS
    content = download.csv_of(folder, kind, filters, all_entries(folder)).encode()
    of = "" if kind == "speed" else "-" + re.sub(r"\W", "-", filters.dataset)
    cache = Path(get_upload_folder())  # what lies there, gradio serves and, after a while, deletes
    path = cache / hashlib.sha256(content).hexdigest()[:20] / f"{kind}{of}.csv"
    with _SAVING:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    return str(path)


def controls(folder: Path, query: str) -> list[Any]:
    """The filters as an address has them, in the order in which the tab has them."""
    filters, _ = asked(folder, query)
    offered = [("All datasets", table.ALL), *((name, name) for name in names(folder))]
    dataset = gr.Dropdown(choices=offered, value=filters.dataset)
    return [dataset, filters.protocol, filters.search, filters.rows, list(filters.columns), filters.axis]


def build_tab(folder: Path = OUT) -> None:
    """The leaderboard as a tab of the page being built, over the files of `folder`.

    All of them are read at once, as for a visitor of the first data set: else the first clicks would wait for it.
    """
    with suppress(UserError):  # who opens the tab is told
        _around(folder, stamps(folder), Filters(dataset=names(folder)[0]))
    with gr.Tab("Leaderboard", render_children=True) as tab:  # so that it opens at once
        parts: dict[str, Any] = {"status": gr.HTML(panels.WAITING)}
        with gr.Row(elem_classes="lb-controls"):
            first = ("All datasets", table.ALL)
            dataset = gr.Dropdown([first], value=table.ALL, label="Dataset", min_width=170)
            offered = [("any", table.ANY), *((name, name) for name in PROTOCOLS)]
            protocol = gr.Dropdown(offered, value=table.ANY, label="Protocol", min_width=130)
            search = gr.Textbox(
                label="Search", placeholder="bone fitted", max_lines=1, max_length=table.LONGEST_SEARCH, min_width=160,
                elem_id="lb-search",
            )  # fmt: skip
            which = [("best of each protocol", address.BEST), ("every combination", address.EVERY)]
            rows = gr.Dropdown(which, value=address.BEST, label="Measured rows", filterable=False, min_width=180)
        parts["about"], parts["sheet"], parts["detail"] = (
            gr.HTML(),
            gr.HTML(elem_id="lb-rows"),
            gr.HTML(elem_id="lb-detail"),
        )
        parts["note"] = gr.HTML()
        with gr.Row():
            parts["save"] = gr.Button("Download (CSV)", size="md", scale=0, min_width=320)
            file = gr.DownloadButton(visible="hidden", elem_id="lb-file")
        with gr.Accordion("Columns", open=False):
            choices = [(column.title, name) for name, column in sheet.CHOICES.items()]
            chosen = gr.CheckboxGroup(choices, show_label=False, elem_classes="lb-controls")
        parts["studies"] = gr.HTML()
        axes = [(title, name) for name, (title, _) in table.AXES.items()]
        with gr.Column() as parts["plotted"]:
            axis = gr.Radio(axes, value=axes[0][1], label="Plot accuracy against", elem_classes="lb-controls")
            parts["plot"] = gr.HTML()
        parts["speed"], parts["missing"] = gr.HTML(), gr.HTML()
        query, there = gr.Textbox(visible=False), gr.Textbox("", visible=False)
        steps = {name: gr.Button(visible="hidden", elem_id=f"lb-{name}") for name in ("go", "back", "take")}
    _react(folder, tab, [dataset, protocol, search, rows, chosen, axis], parts, (query, there), file, steps)


def _react(
    folder: Path, tab: gr.Tab, filters: list[Any], parts: dict[str, Any], asks: tuple[Any, Any], file: Any,
    steps: dict[str, Any],
) -> None:  # fmt: skip
    """What happens when the tab is opened, the address changes, a filter is changed, the download is asked for.

    asks: hidden parts; one holds the address, the other what the browser has: the address that was answered last, and
    which panels (`unlike`).
    """
    query, there = asks
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    asking: dict[str, Any] = quiet | {"js": "() => [leaderboard.asking()]"}
    here: dict[str, Any] = quiet | {"js": "(_, has) => [leaderboard.query(), has]", "trigger_mode": "always_last"}

    def show(said: str, has: str) -> dict[Any, Any]:
        content, new = unlike(view(folder, said), has)
        return {parts[name]: part for name, part in content.items()} | {there: f"{said}\n{new}"}

    def anew(said: str, has: str) -> dict[Any, Any]:
        return show(said, has) | dict(zip(filters, controls(folder, said), strict=True))

    def saved(said: str) -> str:
        try:
            return save(folder, said)
        except UserError as error:
            raise gr.Error(escape(str(error), quote=False), duration=None, print_exception=False) from error

    asked_with, shows = [query, there], [*parts.values(), there]
    again = gr.on([tab.select, steps["back"].click], anew, asked_with, [*shows, *filters], **here)
    for shown in (again, steps["go"].click(show, asked_with, shows, **here)):
        shown.success(None, there, there, js="has => leaderboard.answered(has)")
    changed = [part.input for part in filters if not isinstance(part, gr.Textbox)]  # for that one see page.js
    gr.on(changed, None, filters, None, js="(...chosen) => leaderboard.choose(chosen)")
    taken = gr.on([parts["save"].click, steps["take"].click], saved, query, file, **asking)
    taken.success(None, js="() => leaderboard.save()")
