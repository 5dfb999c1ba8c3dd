"""How long it takes to teach the page: a person's time, and the page's.

    python tests/teaching.py VIDEOS --address http://127.0.0.1:7860      # the page must run there
    python tests/teaching.py VIDEOS --address … --at-once                # all files in one go, named by their names

VIDEOS holds a folder for each sign with its clips; the first K of each are given (--clips) and, where there is one
more, it is asked about at the end. Names are typed at a slow typist's speed. The person's time ends with the last file
that is given; the page's when all are learnt. Chromium runs as in the tests.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from helpers.browser import CHROMIUM, OPTIONS, visit
from playwright.sync_api import Page, sync_playwright

KEY = 250  # milliseconds a key: 48 words a minute
CHOOSING = 3000  # milliseconds to find three files in a dialogue
LEARNT = "!dsta.lesson.looking && !dsta.lesson.clips.length"


def teach_one_by_one(page: Page, signs: dict[str, list[Path]], clips: int) -> None:
    """A name, a choice of files, and so on."""
    for name, files in signs.items():
        page.locator("#lesson-name").press_sequentially(name, delay=KEY)
        page.wait_for_timeout(CHOOSING)
        page.set_input_files("#lesson-files", files[:clips])


def teach_at_once(page: Page, signs: dict[str, list[Path]], clips: int) -> None:
    """All files together, each named after its sign."""
    with tempfile.TemporaryDirectory() as folder:
        links = []
        for name, files in signs.items():
            for i, file in enumerate(files[:clips], 1):
                links.append(Path(folder) / f"{name}-{i}{file.suffix}")
                links[-1].symlink_to(file.resolve())
        page.wait_for_timeout(CHOOSING)
        page.set_input_files("#lesson-files", links)
        page.wait_for_function(LEARNT, timeout=3_600_000)


def tried(page: Page, name: str, file: Path) -> bool:
    """Whether the page says this of a further clip."""
    page.evaluate("document.querySelector('#lesson-answer').replaceChildren()")
    page.set_input_files("#lesson-try", file)
    page.wait_for_function("document.querySelector('#lesson-answer h2, #lesson-notes p')", timeout=120_000)
    answer = page.query_selector("#lesson-answer h2")
    return answer is not None and answer.inner_text() == name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path, metavar="VIDEOS")
    parser.add_argument("--address", default="http://127.0.0.1:7860")
    parser.add_argument("--signs", type=int, default=20)
    parser.add_argument("--clips", type=int, default=3)
    parser.add_argument("--at-once", action="store_true")
    args = parser.parse_args()
    folders = [folder for folder in sorted(args.videos.iterdir()) if len(list(folder.iterdir())) >= args.clips]
    signs = {folder.name: sorted(folder.iterdir()) for folder in folders[: args.signs]}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        with visit(browser, args.address, {"width": 1280, "height": 900}) as page:
            page.get_by_role("tab", name="Teach").click()
            began = time.monotonic()
            (teach_at_once if args.at_once else teach_one_by_one)(page, signs, args.clips)
            person = time.monotonic() - began
            page.wait_for_function(LEARNT, timeout=3_600_000)
            learnt = time.monotonic() - began
            count, notes = page.locator("#lesson-list li").count(), page.inner_text("#lesson-notes")
            further = {name: files[args.clips] for name, files in signs.items() if len(files) > args.clips}
            right = sum(tried(page, name, file) for name, file in further.items())
        browser.close()
    whose = "the page's alone after one choice" if args.at_once else f"a person's {person:.0f} s"
    print(f"{count} of {len(signs)} signs, {args.clips} clips each: {whose}; all learnt after {learnt:.0f} s.")
    print(f"Of {len(further)} further clips {right} were recognised.")
    print(notes)


if __name__ == "__main__":
    main()
