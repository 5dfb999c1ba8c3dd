"""The leaderboard's tab: leaderboard/table.py's rows as a page. Call `build_tab()` among the page's tabs; add CSS.

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
from leaderboard import table
from leaderboard.chart import SERIES
from leaderboard.panels import detail_html, missing_html, plot_html

CSS = """
:root { --lb-1: #0f766e; --lb-2: #b45309; --lb-3: #6d28d9 }
.dark { --lb-1: #2dd4bf; --lb-2: #fbbf24; --lb-3: #c4b5fd }
.lb svg { display: block; width: 100%; height: auto; overflow: visible } .lb svg.narrow { display: none }
.lb svg text { fill: currentColor; font-size: 12px } .lb svg .grid { stroke: currentColor; opacity: .16 }
.lb svg .mark { stroke: var(--sign); fill: var(--sign); stroke-width: 1.5 } .lb svg .mark line { opacity: .55 }
.lb svg .halo { fill: transparent; stroke: none } .lb svg .line { fill: none; stroke: var(--lb-1) }
.lb .charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); gap: 1rem }
.lb .charts figure { margin: 0; max-width: 340px } .lb h4 { margin: .8rem 0 .2rem }
.lb pre { white-space: pre-wrap; overflow-wrap: anywhere; user-select: all; margin: .4rem 0; padding: .6rem .8rem }
.lb pre { border: 1px solid var(--border-color-primary); border-radius: 8px; font-size: .85rem }
.lb pre { font-family: ui-monospace, "DejaVu Sans Mono", Consolas, monospace; color: inherit }
.lb dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .2rem 1rem; margin: .6rem 0 }
.lb dt { opacity: .75 } .lb dd { margin: 0; overflow-wrap: anywhere }
.lb .scroll { overflow-x: auto } .lb .scroll table { table-layout: auto }
.lb .scroll td, .lb .scroll th { padding-right: 1rem !important }
.lb .num { text-align: right !important; font-variant-numeric: tabular-nums; white-space: nowrap }
.lb .two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1rem }
.lb-table { font-variant-numeric: tabular-nums } .lb-table .cell-wrap { cursor: pointer } #lb-file { display: none }
.lb-table, .lb .scroll { contain: inline-size } /* a wide table scrolls; it does not widen the page */
.lb-table .selection-button { display: none } /* rows are picked here, whole columns are not */
.lb-table th.header-cell .cell-wrap { padding-block: .35rem; min-height: 0 }
.lb-controls ::placeholder { color: var(--body-text-color) !important; opacity: .55 }
.lb > details:only-child { margin: 0 } .lb .scroll td { overflow-wrap: normal }
.lb-controls span[data-testid="block-info"] { color: var(--body-text-color); background: none; padding: 0 }
.lb-controls { --checkbox-label-background-fill-selected: #0f766e }
@media (max-width: 640px) { .lb svg.wide { display: none } .lb svg.narrow { display: block }
  .lb dl { grid-template-columns: 1fr; gap: 0 } .lb dd { margin-bottom: .4rem } }
"""
WAITING = '<div class="card"><p class="quiet">Reading the results …</p></div>'
NOTHING = f"""<div class="card lb"><h3>Nothing has been measured here yet</h3>
<p>This table shows what this program measured. Fill it with</p><pre>{table.COMMAND}</pre>
<p class="quiet">It scores every dataset and every combination of streams that it finds, and says why where it cannot.
Until then, only what others published stands below.</p></div>"""
FUSIONS_TEXT = """<p class="quiet small"><b>95 %</b>: where the true value lies, as far as that many clips can tell.
<b>Fusion</b>: <i>published</i> weights were tuned by their authors on the labels they report; <i>equal</i> ones on
nothing; <i>fitted</i> ones on validation clips alone; <i>none</i>: a single stream.
⋮ in a column’s head sorts by that column, too, and goes before the order chosen above.</p>"""
BEST = """<p class="quiet small">The best row of each dataset and protocol, <b>chosen on the clips it is scored on</b>,
hence a little flattering: open a dataset to see all of its rows.</p>"""
NO_ROW = '<p class="note">No measured row fits these filters.</p>'
PUBLISHED_TEXT = """### Published elsewhere – not measured here
What others report of their own methods: listed by dataset and method, not ranked, never mixed with the table above.
*read*: in the source itself; *second-hand*: quoted by someone else. Figures under another protocol, or an unknown one,
cannot be compared; the protocol chosen above does not filter them."""
PICK = '<p class="quiet small">Select a row of the table: its command, origin and glosses appear here.</p>'
SHOW_DETAIL = """() => { const card = document.querySelector("#lb-detail");
  if (card.getBoundingClientRect().top > innerHeight * .8) card.scrollIntoView({behavior: "smooth"}); }"""
SAVE = """() => setTimeout(() => document.querySelector("#lb-file").click(), 50)"""


# ---- panels ----------------------------------------------------------------------------------------------------------


# ---- the tab ---------------------------------------------------------------------------------------------------------


def status_html(folder: Path) -> tuple[str, table.Table | None]:
    """What stands above the table, and the results; None where there are none, or they cannot be read."""
    try:
        found = table.results(folder)
    except UserError as error:
        return f'<div class="card"><h3>The results cannot be shown</h3><p>{escape(str(error))}</p></div>', None
    if found.rows.empty:
        return NOTHING, None
    good = table.measured(found.rows)
    sets, latest = good["dataset"].nunique(), good["date"].max()[:10] if len(good) else ""
    said = f"{table.number(len(good))} rows measured here on {sets} datasets{latest and f', the latest on {latest}'}"
    return (
        f'<p class="quiet">{escape(said)}. Protocol, number of clips and interval stand beside each figure.</p>',
        found,
    )


def names(folder: Path) -> list[str]:
    """What the choice of dataset offers: the overview, all, and each dataset that was measured or published."""
    found = status_html(folder)[1]
    measured = [] if found is None else [found.rows["dataset"]]
    return [table.OVERVIEW, table.EVERYTHING, *table.dataset_names(*measured, table.published()["benchmark"])]


def view(
    folder: Path, dataset: str, protocol: str, search: str, by: str, chosen: Sequence[str], axis: str
) -> dict[str, Any]:
    """All that the filters decide: panel -> its new content."""
    status, found = status_html(folder)
    foreign = table.published()
    foreign = table.filtered(foreign, dataset, search=search)
    said: dict[str, Any] = {
        "status": status,
        "foreign": table.sheet(foreign, table.PUBLISHED_COLUMNS),
        "measured": gr.Column(visible=found is not None),
    }
    if found is None:
        return said
    rows = table.filtered(found.rows, dataset, protocol, search)
    good = table.ranked(table.measured(rows))
    overview = dataset in (table.OVERVIEW, table.EVERYTHING)
    shown = table.sort(table.best(good) if dataset == table.OVERVIEW else good, by)
    shape = table.columns(chosen)
    return said | {
        "rows": gr.Dataframe(table.sheet(shown, shape), **layout(shape)),
        "note": (BEST if dataset == table.OVERVIEW else "") + FUSIONS_TEXT if len(shown) else NO_ROW,
        "plot": plot_html(good, axis, overview),
        "missing": missing_html(rows),
        "save": gr.Button(f"Download {table.number(len(rows))} rows × all columns (CSV)", interactive=len(rows) > 0),
    }


def layout(shape: Sequence[table.Column]) -> dict[str, Any]:
    return {
        "headers": [column.title for column in shape],
        "datatype": ["number" if column.numeric else "str" for column in shape],
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
    path.write_text(
        table.csv_text(found, table.filtered(found.rows, dataset, protocol, search)), encoding="utf-8", newline=""
    )
    return str(path)


def pick(folder: Path, cells: Sequence[Any]) -> str:
    """The panel of the row whose cells these are."""
    good = table.measured(table.results(folder).rows)
    key = table.key_of(cells, good)
    if key is None:
        return '<p class="note">This row is no longer in the results: open the tab again.</p>'
    row = next(table.find(good, key).itertuples())
    return detail_html(row, table.find(table.glosses(folder), key), table.find(table.robustness(folder), key))


def build_tab(folder: Path = table.RESULTS) -> None:
    """The leaderboard as a tab of the page being built, over the files of `folder`."""
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    shape = table.columns(table.SHOWN)
    with gr.Tab("Leaderboard", render_children=True) as tab:  # so that it opens at once
        panels: dict[str, Any] = {"status": gr.HTML(WAITING)}
        with gr.Row(elem_classes="lb-controls"):
            dataset = gr.Dropdown([table.OVERVIEW], label="Dataset", min_width=170)
            protocol = gr.Dropdown([table.ANY, *SERIES], label="Protocol", min_width=130)
            search = gr.Textbox(label="Search", placeholder="bone fitted", max_lines=1, min_width=160)
            by = gr.Dropdown(list(table.SORTS), label="Sort", min_width=180)
        with gr.Column(visible=False) as panels["measured"]:
            panels["rows"] = gr.Dataframe(
                **layout(shape), interactive=False, show_label=False, label="Measured here", wrap=True, buttons=[],
                pinned_columns=1, max_height=460, elem_classes="lb-table",
            )  # fmt: skip
            panels["note"] = gr.HTML(FUSIONS_TEXT)
            with gr.Row():
                panels["save"] = gr.Button("Download (CSV)", size="md", scale=0, min_width=320)
                file = gr.DownloadButton(visible="hidden", elem_id="lb-file")
            with gr.Accordion("Columns", open=False):
                chosen = gr.CheckboxGroup(
                    list(table.CHOICES), value=list(table.SHOWN), show_label=False, elem_classes="lb-controls"
                )
            detail = gr.HTML(PICK, elem_id="lb-detail")
            axis = gr.Radio(
                list(table.AXES),
                value=next(iter(table.AXES)),
                label="Plot accuracy against",
                elem_classes="lb-controls",
            )
            panels["plot"] = gr.HTML()
            panels["missing"] = gr.HTML()
        gr.Markdown(PUBLISHED_TEXT)
        panels["foreign"] = gr.Dataframe(
            **layout(table.PUBLISHED_COLUMNS), interactive=False, show_label=False, label="Published elsewhere",
            wrap=True, buttons=[], pinned_columns=1, max_height=380, elem_classes="lb-table",
        )  # fmt: skip

    def show(*filters: Any) -> dict[Any, Any]:
        return {panels[name]: content for name, content in view(folder, *filters).items() if name in panels}

    def opened(*filters: Any) -> dict[Any, Any]:
        return show(*filters) | {dataset: gr.Dropdown(choices=names(folder))}

    def picked(event: gr.SelectData) -> str:
        try:
            return pick(folder, event.row_value)
        except UserError as error:
            return f'<p class="note">{escape(str(error))}</p>'

    def saved(*filters: Any) -> str:
        try:
            return save(folder, *filters)
        except UserError as error:
            raise gr.Error(escape(str(error), quote=False), duration=None, print_exception=False) from error

    filters = [dataset, protocol, search, by, chosen, axis]
    tab.select(opened, filters, [*panels.values(), dataset], **quiet)
    changes = [dataset.change, protocol.change, search.change, by.change, chosen.change, axis.change]
    gr.on(changes, show, filters, list(panels.values()), trigger_mode="always_last", **quiet)
    panels["rows"].select(picked, None, detail, **quiet).then(None, js=SHOW_DETAIL)
    panels["save"].click(saved, filters[:3], file, **quiet).success(None, js=SAVE)
