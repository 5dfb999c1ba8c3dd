"""The leaderboard's tab: leaderboard/table.py's rows as a page. Call `build_tab()` among the page's tabs, and launch
the page with STYLE and SCRIPT.

The files are read when the tab is opened, and again when they have changed. Everything is drawn here, nothing is loaded
from elsewhere; text from files is escaped.
"""

import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from dsta.common import UserError
from leaderboard import panels, table
from leaderboard.chart import SERIES
from leaderboard.published import PUBLISHED_COLUMNS, published
from leaderboard.results import OUT

STYLE = Path(__file__).with_name("style.css")
SCRIPT = Path(__file__).with_name("page.js")
"""Defines `window.leaderboard`, whose functions the tab's events call."""


def names(folder: Path) -> list[str]:
    """What the choice of dataset offers: the overview, all, and each dataset that was measured or published."""
    found = panels.status_html(folder)[1]
    measured = [] if found is None else [found.rows["dataset"]]
    return [table.OVERVIEW, table.EVERYTHING, *table.dataset_names(*measured, published()["benchmark"])]


def view(
    folder: Path, dataset: str, protocol: str, search: str, by: str, chosen: Sequence[str], axis: str
) -> dict[str, Any]:
    """All that the filters decide: panel -> its new content."""
    status, found = panels.status_html(folder)
    foreign = table.filtered(published(), dataset, search=search)
    said: dict[str, Any] = {
        "status": status,
        "foreign": table.sheet(foreign, PUBLISHED_COLUMNS),
        "measured": gr.Column(visible=found is not None),
    }
    if found is None:
        return said
    rows = table.filtered(found.rows, dataset, protocol, search)
    good = table.ranked(table.measured(rows))
    overview = dataset in (table.OVERVIEW, table.EVERYTHING)
    shown = table.sort(table.best(good) if dataset == table.OVERVIEW else good, by)
    shape, best = table.columns(chosen), panels.BEST if dataset == table.OVERVIEW else ""
    return said | {
        "rows": gr.Dataframe(table.sheet(shown, shape), **layout(shape)),
        "note": best + panels.FUSIONS_TEXT if len(shown) else panels.NO_ROW,
        "plot": panels.plot_html(good, axis, overview),
        "missing": panels.missing_html(rows),
        "save": gr.Button(f"Download {table.number(len(rows))} rows × all columns (CSV)", interactive=len(rows) > 0),
    }


def layout(shape: Sequence[table.Column]) -> dict[str, Any]:
    return {
        "headers": [column.title for column in shape],
        "datatype": [column.kind for column in shape],
        "column_widths": [column.width for column in shape],
    }


def save(folder: Path, dataset: str, protocol: str, search: str) -> str:
    """The chosen rows, complete, with those that were not measured -> a new CSV file, which gradio deletes in time."""
    found = table.results(folder)
    whole = dataset in (table.OVERVIEW, table.EVERYTHING)
    name = "all" if whole else "".join(letter if letter.isalnum() else "-" for letter in dataset)
    cache = Path(get_upload_folder())  # what lies there, gradio serves and, after a while, deletes
    cache.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(dir=cache)) / f"leaderboard-{name}.csv"
    rows = table.filtered(found.rows, dataset, protocol, search)
    path.write_text(table.csv_text(found, rows), encoding="utf-8", newline="")
    return str(path)


def pick(folder: Path, cells: Sequence[Any]) -> str:
    """The panel of the row whose cells these are."""
    good = table.measured(table.results(folder).rows)
    key = table.key_of(cells, good)
    if key is None:
        return '<p class="note">This row is no longer in the results: open the tab again.</p>'
    row = next(table.find(good, key).itertuples())
    return panels.detail_html(row, table.find(table.glosses(folder), key), table.find(table.robustness(folder), key))


def build_tab(folder: Path = OUT) -> None:
    """The leaderboard as a tab of the page being built, over the files of `folder`."""
    shape = table.columns(table.SHOWN)
    sheet: dict[str, Any] = {"interactive": False, "show_label": False, "wrap": True, "buttons": []}
    sheet |= {"pinned_columns": 1, "elem_classes": "lb-table"}
    with gr.Tab("Leaderboard", render_children=True) as tab:  # so that it opens at once
        parts: dict[str, Any] = {"status": gr.HTML(panels.WAITING)}
        with gr.Row(elem_classes="lb-controls"):
            parts["dataset"] = gr.Dropdown([table.OVERVIEW], label="Dataset", min_width=170)
            protocol = gr.Dropdown([table.ANY, *SERIES], label="Protocol", min_width=130)
            search = gr.Textbox(
                label="Search", placeholder="bone fitted", max_lines=1, max_length=table.LONGEST_SEARCH, min_width=160
            )
            by = gr.Dropdown(list(table.SORTS), label="Sort", min_width=180)
        with gr.Column(visible=False) as parts["measured"]:
            parts["rows"] = gr.Dataframe(**layout(shape), **sheet, label="Measured here", max_height=460)
            parts["note"] = gr.HTML(panels.FUSIONS_TEXT)
            with gr.Row():
                parts["save"] = gr.Button("Download (CSV)", size="md", scale=0, min_width=320)
                parts["file"] = gr.DownloadButton(visible="hidden", elem_id="lb-file")
            with gr.Accordion("Columns", open=False):
                chosen = gr.CheckboxGroup(
                    list(table.CHOICES), value=list(table.SHOWN), show_label=False, elem_classes="lb-controls"
                )
            parts["detail"] = gr.HTML(panels.PICK, elem_id="lb-detail")
            axes = list(table.AXES)
            axis = gr.Radio(axes, value=axes[0], label="Plot accuracy against", elem_classes="lb-controls")
            parts["plot"] = gr.HTML()
            parts["missing"] = gr.HTML()
        gr.Markdown(panels.PUBLISHED_TEXT)
        parts["foreign"] = gr.Dataframe(
            **layout(PUBLISHED_COLUMNS), **sheet, label="Published elsewhere", max_height=380
        )
    _react(folder, tab, [parts["dataset"], protocol, search, by, chosen, axis], parts)


def _react(folder: Path, tab: gr.Tab, filters: list[Any], parts: dict[str, Any]) -> None:
    """What happens when the tab is opened, a filter changed, a row selected, the download asked for."""
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}

    def show(*chosen: Any) -> dict[Any, Any]:
        return {parts[name]: content for name, content in view(folder, *chosen).items()}

    def opened(*chosen: Any) -> dict[Any, Any]:
        return show(*chosen) | {parts["dataset"]: gr.Dropdown(choices=names(folder))}

    def picked(event: gr.SelectData) -> str:
        try:
            return pick(folder, event.row_value)
        except UserError as error:
            return f'<p class="note">{escape(str(error))}</p>'

    def saved(*chosen: Any) -> str:
        try:
            return save(folder, *chosen)
        except UserError as error:
            raise gr.Error(escape(str(error), quote=False), duration=None, print_exception=False) from error

    decided = [part for name, part in parts.items() if name not in ("dataset", "detail", "file")]
    tab.select(opened, filters, [*decided, parts["dataset"]], **quiet)
    gr.on([one.change for one in filters], show, filters, decided, trigger_mode="always_last", **quiet)
    parts["rows"].select(picked, None, parts["detail"], **quiet).then(None, js="() => leaderboard.showDetail()")
    parts["save"].click(saved, filters[:3], parts["file"], **quiet).success(None, js="() => leaderboard.save()")
