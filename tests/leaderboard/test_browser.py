"""The leaderboard in Chromium: the address says what is shown, Back goes back, heads sort, rows open."""

import shutil
from urllib.parse import parse_qs, urlsplit

import gradio as gr
import pytest
from helpers.results import row, write

from leaderboard import tab

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PHONE = {"width": 390, "height": 844}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]


@pytest.fixture
def site(tmp_path):
    rows = [row(top1=0.6), row(streams="joint+bone", fusion="equal", top1=0.7), row("zoo", "folds", top1=0.1)]
    write(tmp_path, rows)
    with gr.Blocks(analytics_enabled=False) as page:
        with gr.Tab("Recognise"):
            gr.HTML("nothing")
        tab.build_tab(tmp_path)
    script = tab.SCRIPT.read_text(encoding="utf-8")
    yield page.launch(css_paths=[tab.STYLE], js=script, prevent_thread_lock=True, quiet=True, ssr_mode=False)[1]
    page.close()


@pytest.fixture
def visitor():
    playwright_api = pytest.importorskip("playwright.sync_api")
    with playwright_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        page = browser.new_page(viewport=PHONE)
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def address(page):
    return {name: text for name, (text,) in parse_qs(urlsplit(page.url).query).items()}


def test_the_address_is_what_is_shown_and_back_goes_back(site, visitor):
    page, failed = visitor, []
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(f"{site}?tab=leaderboard&dataset=zoo&sort=fun", wait_until="load")
    page.get_by_text("The address names nothing by sort=fun.").wait_for()
    assert page.locator(".lb-sheet tbody tr").count() == 1 and page.get_by_label("Dataset").input_value() == "zoo"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    page.goto(f"{site}?tab=leaderboard&rows=every&search=run_all", wait_until="load")
    page.locator(".lb-sheet tbody tr").nth(2).wait_for()
    page.focus("th a:has-text('Top-1 %')")
    page.keyboard.press("Enter")
    page.wait_for_selector("th[aria-sort=descending]")
    assert address(page)["sort"] == "-top1_instance"
    page.wait_for_function("document.activeElement.textContent.startsWith('Top-1 %')")  # the focus stays
    page.get_by_role("link", name="joint, bone, equal").click()
    page.locator("#lb-detail .card").wait_for()
    assert address(page)["row"] == "WLASL100:test:joint+bone:equal"
    page.go_back()
    page.locator("#lb-detail .card").wait_for(state="detached")
    assert "row" not in address(page) and page.locator("th[aria-sort=descending]").count() == 1
    page.go_back()
    page.locator("th[aria-sort=descending]").wait_for(state="detached")

    page.get_by_role("tab", name="Recognise").click()
    page.wait_for_function("!location.search")
    page.go_back()
    page.wait_for_selector("button[role=tab][aria-selected=true]:has-text('Leaderboard')")
    assert address(page) == {"tab": "leaderboard", "rows": "every", "search": "run_all"} and failed == []
