"""How long a click on the leaderboard takes: milliseconds from the event until what it asks for is painted.

    python tests/clicks.py                   # the results with made-up rows, 2 000 in all; five of each click
    python tests/clicks.py --rows 500 --tries 9

Starts the page and Chromium. What else runs on the machine is in the figures: see the load that is printed.
"""

import argparse
import csv
import functools
import os
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from helpers.browser import CHROMIUM, DESK, OPTIONS  # noqa: E402
from helpers.results import write  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402

import app  # noqa: E402
from leaderboard import tab  # noqa: E402
from leaderboard.results import OUT, SUBMITTED_COLUMNS, read_rows  # noqa: E402

# From the first of these events on until `done` holds and the next picture has been drawn.
STOPWATCH = """([kinds, done]) => {
  let begun = 0;
  const begin = event => { begun ||= event.timeStamp; };
  for (const kind of kinds) addEventListener(kind, begin, {capture: true, once: true});
  const holds = new Function("return " + done);
  window.took = new Promise(resolve => {
    const look = () => {
      if (!begun || !holds()) requestAnimationFrame(look);
      else requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - begun), 0));
    };
    look();
  });
}"""
DETAIL = "document.querySelector('#lb-detail')"
SHOWN = {
    "sorted": "document.querySelector('th[aria-sort=descending]')",
    "page": "document.querySelector('[data-page=previous]')",
    "dataset": "[...document.querySelectorAll('.lb h3')].some(head => head.textContent === 'WLASL100')",
    "opened": f"{DETAIL}.querySelector('.card h3')",
    "compared": f"{DETAIL}.textContent.includes('clips of both')",
    "alone": f"!{DETAIL}.textContent.includes('clips of both')",
    "closed": f"!{DETAIL}.querySelector('.card h3')",
    "column": "[...document.querySelectorAll('th')].some(head => head.textContent === 'ECE')",
    "axis": "[...document.querySelectorAll('h2')].some(head => head.textContent.includes('against parameters'))",
    "folds": "!document.querySelector('.lb-sheet').textContent.includes('WLASL100')",
    "found": "[...document.querySelectorAll('.lb-sheet tbody tr')].every(row => row.textContent.includes('Made-up'))",
}
Took = dict[str, list[float]]


def enlarged(folder: Path, rows: int) -> Path:
    """The results with so many rows: copies of the measured ones by other names, and of the submitted one."""
    shutil.copytree(OUT, folder)
    with (OUT / "results.csv").open(encoding="utf-8", newline="") as file:
        own = list(csv.DictReader(file))
    copies = (rows - len(own)) // (2 * len(own))
    made_up = [row | {"dataset": f"{row['dataset']} {n}"} for n in range(copies) for row in own]
    write(folder, own + made_up)
    sent = read_rows(OUT / "submitted.csv", SUBMITTED_COLUMNS)
    scores = folder / "scores" / sent[0]["dataset"] / "submitted"
    file = next(scores.glob("*.npz"))
    missing = rows - len(tab.all_entries(folder))
    for n in range(missing):
        sent.append(sent[0] | {"system": f"Made-up {n}", "top1_instance": f"{0.6 * n / missing:.6f}"})
        shutil.copy(file, scores / f"{sent[0]['protocol']}-Made-up-{n}.npz")
    write(folder, sent, "submitted.csv")
    return folder


class Visitor:
    """Clicks, and keeps how long each kind took."""

    def __init__(self, page: Page, site: str) -> None:
        self.page, self.site, self.took = page, site, defaultdict(list)

    def go(self, query: str) -> None:
        self.page.goto(f"{self.site}?tab=leaderboard{query}", wait_until="load")
        self.page.wait_for_selector(".lb-sheet tbody tr")
        self.page.wait_for_timeout(1500)

    def time(self, name: str, act: Callable[[], object], shown: str, *kinds: str) -> None:
        self.page.evaluate(STOPWATCH, [kinds or ["click"], SHOWN[shown]])
        act()
        self.took[name].append(self.page.evaluate("window.took"))
        self.page.wait_for_timeout(500)

    def back(self, shown: str) -> None:
        self.time("Back", lambda: self.page.evaluate("dispatchEvent(new Event('back')); history.back()"), shown, "back")

    def choose(self, name: str, label: str, option: str, shown: str) -> None:
        self.page.get_by_label(label).click()
        self.page.wait_for_timeout(200)
        chosen = self.page.get_by_role("option", name=option, exact=True)
        self.time(name, chosen.click, shown, "mousedown", "click")

    def everything(self) -> None:
        page = self.page
        self.go("&rows=every")
        self.time("sort", lambda: page.click("th a:has-text('Top-1 %') >> nth=0"), "sorted")
        self.time("next page", lambda: page.click("[data-page=next]"), "page")
        self.go("&rows=every")
        self.choose("choose a data set", "Dataset", "WLASL100", "dataset")
        self.time("open a row", lambda: page.click("tbody a[data-row]:has-text('fitted') >> nth=0"), "opened")
        self.time("compare", lambda: page.select_option("[data-lb-other]", index=3), "compared", "change")
        self.back("alone")
        self.back("closed")
        page.get_by_text("Columns", exact=True).click()
        page.wait_for_timeout(500)
        self.time("add a column", lambda: page.get_by_label("ECE").click(), "column")
        self.time("plot's axis", lambda: page.get_by_label("Parameters (millions)").click(), "axis")
        self.go("&rows=every")
        self.choose("filter by protocol", "Protocol", "folds", "folds")
        self.go("&rows=every")
        page.get_by_placeholder("bone fitted").focus()
        self.time("search", lambda: page.keyboard.insert_text("made-up"), "found", "beforeinput")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--tries", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        folder = enlarged(Path(place) / "results", args.rows)
        tab.build_tab = functools.partial(tab.build_tab, folder)
        blocks = app.build()
        site = app.launch(blocks, prevent_thread_lock=True, quiet=True)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        page = browser.new_page(viewport=DESK)
        page.set_default_timeout(30_000)
        visitor = Visitor(page, site)
        print(f"{len(tab.all_entries(folder))} rows, load {os.getloadavg()[0]:.2f}, milliseconds:", flush=True)
        for _ in range(args.tries):
            visitor.everything()
        for name, each in visitor.took.items():
            first, median = each[0], statistics.median(each)
            print(f"{name:20} median {median:4.0f}  max {max(each):4.0f}  first {first:4.0f}")
        print(f"load {os.getloadavg()[0]:.2f}")
        browser.close()
        blocks.close()


if __name__ == "__main__":
    main()
