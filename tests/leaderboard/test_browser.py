"""The leaderboard in Chromium: the address says what is shown, Back goes back, heads sort, rows open and close."""

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


ROWS = [row(top1=0.6), row(streams="joint+bone", fusion="equal", top1=0.7), row("zoo", "folds", top1=0.1)]


@pytest.fixture
def site(tmp_path):
    write(tmp_path, ROWS)
    with gr.Blocks(analytics_enabled=False) as page:
        with gr.Tab("Recognise"):
            gr.HTML("nothing")
        tab.build_tab(tmp_path)
    script = tab.SCRIPT.read_text(encoding="utf-8")
    yield page.launch(css_paths=[*tab.STYLES], js=script, prevent_thread_lock=True, quiet=True, ssr_mode=False)[1]
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
    box = page.get_by_placeholder("bone fitted")
    box.fill("equals")  # as pasting does, without a key
    page.get_by_text("No row fits these filters.").wait_for()
    box.press("Backspace")
    page.get_by_role("link", name="joint, bone, equal").wait_for()
    assert address(page)["search"] == "equal" and page.locator(".lb-sheet tbody tr").count() == 1
    box.fill("run_all")
    page.locator(".lb-sheet tbody tr").nth(2).wait_for()
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


def test_pages_rows_and_damaged_results_with_the_keyboard_alone(site, visitor, tmp_path):
    many = [row(f"set{n:03}", top1=n / 1000) for n in range(250)]
    write(tmp_path, many)
    page, failed = visitor, []
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(f"{site}?tab=leaderboard&search=run_all&sort=-top1_instance", wait_until="load")
    page.get_by_text("Rows 1 – 100 of 250").wait_for()
    page.focus("[data-page=last]")
    page.keyboard.press("Enter")
    page.get_by_text("Rows 201 – 250 of 250").wait_for()
    page.wait_for_function("document.activeElement.dataset.page === 'first'")  # the last page knows no way to itself
    assert address(page)["page"] == "3"

    page.focus("[data-row='set049:test:joint:none']")
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.matches('#lb-detail h3')")
    assert page.locator("tr.picked").count() == 1 and address(page)["page"] == "3"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top < innerHeight")
    page.focus("th a:has-text('Clips')")
    page.keyboard.press("Enter")  # another order leaves the row open, and begins with its first page
    page.get_by_text("Rows 1 – 100 of 250").wait_for()
    assert "row" in address(page) and "page" not in address(page) and page.locator("#lb-detail h3").count() == 1
    page.go_back()
    page.get_by_text("Rows 201 – 250 of 250").wait_for()
    page.focus("[data-close]")
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.dataset.row === 'set049:test:joint:none'")
    assert page.locator("#lb-detail .card, tr.picked").count() == 0

    (tmp_path / "results.csv").write_text("half a ro")
    page.locator("[data-page=first]").click()
    page.get_by_text("The results cannot be shown").wait_for()
    write(tmp_path, many)
    page.go_back()
    page.get_by_text("Rows 201 – 250 of 250").wait_for()
    assert failed == []
