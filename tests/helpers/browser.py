"""Chromium, as the page's visitors use it."""

import shutil
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]


@contextmanager
def visit(browser, address, size=PHONE, before="", **options):
    """The page, once it has asked the server which signs there are. before: a script that runs ahead of the page's."""
    context = browser.new_context(viewport=size, **options)
    context.add_init_script(before)
    page = context.new_page()
    page.set_default_timeout(90_000)
    page.goto(address)
    page.get_by_text("signs it knows").first.wait_for()
    yield page
    context.close()


def upload(page, video):
    page.set_input_files("#video input[type=file]", str(video))


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


def own_words(page):
    """That nothing of gradio's own complaints is to be seen."""
    return not [
        part for part in page.locator(".toast-wrap [data-testid=toast-body], .error").all() if part.is_visible()
    ]


def serious(page):
    """What axe finds grave: rule and parts."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    # A video of a sign has no sound to put into captions.
    found = axe.run(page, options={"resultTypes": ["violations"], "rules": {"video-caption": {"enabled": False}}})
    grave = [each for each in found.response["violations"] if each["impact"] in ("serious", "critical")]
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in grave]
