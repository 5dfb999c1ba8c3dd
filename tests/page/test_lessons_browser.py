"""The tab Teach in Chromium, by files."""

import pytest
from helpers.browser import (
    DESK,
    MARKS,
    PHONE,
    button,
    choose_when_asked,
    own_words,
    serious,
    settled,
    signs,
    until,
    visit,
)
from helpers.teaching import ESTIMATOR, take

from dsta.keypoints import Pose

pytestmark = MARKS
HTML = "<img src=x onerror=document.title=1>"


@pytest.fixture
def clips(tmp_path):
    """Skeleton files of two signs, three takes each, and one more of each to try."""
    files = [tmp_path / f"{name}-{seed}.npz" for name in ("tea", "milk") for seed in range(4)]
    for i, file in enumerate(files):
        Pose(take(i // 4, i % 4), 15, 512, 512, ESTIMATOR).save(file)
    return [str(file) for file in files]


def test_signs_are_taught_tried_saved_removed_and_loaded(weights, clips, site, browser, tmp_path):
    five = tmp_path / "five.npz"
    Pose(take(5), 15, 512, 512, ESTIMATOR).save(five)
    with visit(browser, site, DESK) as page, visit(browser, site, PHONE) as other:
        choose_when_asked(page, five)
        page.get_by_role("tab", name="Teach").click()
        assert button(page, "Record one").is_disabled() and button(page, "Save file").is_disabled()
        page.set_input_files("#lesson-files", [*clips[:3], *clips[4:7]])  # named by their files
        page.get_by_text("milk", exact=True).wait_for()
        page.fill("#lesson-name", HTML)
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Choose clips"
        page.keyboard.press("Enter")
        page.get_by_text(HTML).first.wait_for()
        settled(page)
        assert signs(page) == ["tea", "milk", HTML] and page.locator("#lesson-list .tiles img").count() == 7
        assert page.input_value("#lesson-name") == ""

        page.set_input_files("#lesson-try", clips[7])
        page.locator("#lesson-answer h2").get_by_text("milk").wait_for()
        page.wait_for_function("document.activeElement.matches('#lesson-answer h2')")
        assert "3 own signs. milk." in page.text_content("#said")
        page.get_by_label("my signs and the 3 Made signs").check()
        page.set_input_files("#lesson-try", clips[3])
        page.locator("#lesson-answer .verdict").get_by_text("6 own and Made signs").wait_for()
        assert serious(page) == []

        with page.expect_download() as download:
            button(page, "Save file").click()
        button(page, "Remove tea").click()
        page.wait_for_function("document.querySelectorAll('#lesson-list li').length === 2")
        assert signs(page) == ["milk", HTML]

        other.get_by_role("tab", name="Teach").click()
        assert signs(other) == []
        other.set_input_files("#lesson-load", str(download.value.path()))
        other.get_by_text("milk", exact=True).wait_for()
        assert signs(other) == ["tea", "milk", HTML]
        assert other.evaluate("document.documentElement.scrollWidth <= innerWidth")
        other.set_input_files("#lesson-load", clips[0])
        other.locator("#lesson-notes").get_by_text("no file of signs").wait_for()
        for each in (page, other):
            assert own_words(each) and each.title() != "1"


def test_what_cannot_be_taught_is_said_and_the_rest_goes_on(weights, clips, site, browser, tmp_path):
    handless = take(0)
    handless[:, 7:] = 0
    Pose(handless, 15, 512, 512, ESTIMATOR).save(tmp_path / "handless.npz")
    (tmp_path / "IMG_2034.npz").write_bytes(b"junk")
    (tmp_path / "empty.npz").touch()
    odd = [str(tmp_path / name) for name in ("handless.npz", "IMG_2034.npz", "empty.npz")]
    with visit(browser, site, DESK, color_scheme="dark") as page:
        page.get_by_role("tab", name="Teach").click()
        page.set_input_files("#lesson-files", [*odd, clips[0]])
        page.get_by_text("tea", exact=True).first.wait_for()
        settled(page)
        for words in (
            "handless: No hand was seen",
            "Type the sign’s name first, then give IMG_2034",
            "empty.npz: it is",
        ):
            page.locator("#lesson-notes").get_by_text(words).wait_for()
        assert signs(page) == ["tea"] and serious(page) == []
        page.set_input_files("#lesson-try", clips[0])
        page.locator("#lesson-notes").get_by_text("only one sign").wait_for()
        page.route("**/upload", lambda route: route.abort())
        page.set_input_files("#lesson-files", clips[1])
        page.locator("#lesson-notes").get_by_text("tea-1.npz: the upload broke off: try once more.").wait_for()
        page.wait_for_function("document.querySelector('#notice').textContent.startsWith('The upload broke off')")


def test_signs_are_asked_for_again_when_the_connection_is_back(weights, clips, site, browser):
    with visit(browser, site) as page:
        page.get_by_role("tab", name="Teach").click()
        page.set_input_files("#lesson-files", clips[0])
        page.get_by_text("tea", exact=True).first.wait_for()
        settled(page)
        asked = []
        page.on("request", lambda request: asked.append(request.post_data or "") if "/join" in request.url else None)
        page.evaluate("""async () => {
            const ends = new AbortController(), {root, api_prefix} = gradio_config;
            await fetch(`${root}${api_prefix}/heartbeat/another`, {signal: ends.signal});
            ends.abort();
        }""")
        until(page, lambda: any('\\"list\\"' in each for each in asked))
        assert signs(page) == ["tea"]
