"""Chromium, as the page's visitors use it."""

import shutil
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = [
    "--no-sandbox",
    "--no-zygote",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
]
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
CAMERA = ["--use-fake-device-for-media-stream=fps=10", "--use-fake-ui-for-media-stream"]  # made up, and allowed
MARKS = [
    pytest.mark.browser,
    pytest.mark.flaky(reruns=1),  # where all cores are taken, a browser is now and then too late
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]


@contextmanager
def visit(browser, address, size=PHONE, before="", **options):
    """The page, once it has asked the server which signs there are. before: a script that runs ahead of the page's."""
    context = browser.new_context(viewport=size, **options)
    context.add_init_script(before)
    page = context.new_page()
    page.set_default_timeout(90_000)
    try:
        page.goto(address)
        page.get_by_text("signs it knows").first.wait_for()
        yield page
    finally:
        context.close()


def until(page, true):
    """Waits for what happens outside the page."""
    for _ in range(1800):
        if true():
            return
        page.wait_for_timeout(50)
    raise AssertionError("It has not come true in 90 seconds.")


def upload(page, video):
    page.set_input_files("#video input[type=file]", str(video))


def choose_when_asked(page, file):
    """Answers the file dialog. Asked for early: a press right after expect_file_chooser may come before it listens."""
    page.on("filechooser", lambda chooser: chooser.set_files(str(file)))


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


def answer(page, among):
    """The first line of an answer; those who listen to the page are told it too."""
    return page.locator("#result .verdict").get_by_text(among)


def focused(page):
    """Tag and words of what has the focus."""
    return page.evaluate("""() => {
        const {tagName, ariaLabel, innerText, type} = document.activeElement;
        return [tagName, (ariaLabel || innerText || type || "").trim().replace(/\\s+/g, " ")];
    }""")


def press_until(page, key, name):
    """Presses a key until what has that name is focused; each focus on the way is to be seen."""
    seen = []
    while focused(page)[1] != name:
        assert len(seen) < 30, f"{name} is not reached: {seen}"
        page.keyboard.press(key)
        seen.append(focused(page))
        style = "getComputedStyle(document.activeElement)"
        visible = f"{style}.outlineStyle !== 'none' || {style}.boxShadow !== 'none'"
        assert seen[-1][0] == "BODY" or page.evaluate(visible), seen[-1]


def signs(page):
    """The signs that the tab Teach lists."""
    return [part.inner_text() for part in page.locator("#lesson-list b").all()]


def settled(page):
    """Waits until no clip waits in that tab."""
    page.wait_for_function("!dsta.lesson.looking && !dsta.lesson.clips.length")
