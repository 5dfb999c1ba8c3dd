"""What the page says where the browser, the camera or the connection refuse, in Chromium."""

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from helpers.browser import DESK, MARKS, button, own_words, upload, visit
from helpers.media import numbered, write_video
from helpers.page import WaitingRecognizer, offered, recognition

pytestmark = MARKS
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        ("absent", "No camera was found. Connect one"),
        ("denied", "The camera was not allowed. Allow it"),
        ("taken", "The camera is taken by another program. Close that"),
        ("insecure", "Browsers give the camera only to pages whose address is secure"),
    ],
)
def test_a_camera_that_cannot_be_had_is_told(trouble, sentence, video, answers, site, chromium):
    answers(recognition())
    there = "--use-fake-device-for-media-stream"
    browser = chromium(*[there] * (trouble != "absent"), "--host-resolver-rules=MAP page.test 127.0.0.1")
    address = site.replace("127.0.0.1", "page.test") if trouble == "insecure" else site
    taken = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotReadableError') }"
    with visit(browser, address, before=taken if trouble == "taken" else "") as page:
        if trouble == "denied":
            denied = {"permission": {"name": "camera"}, "setting": "denied"}
            page.context.new_cdp_session(page).send("Browser.setPermission", denied)
        button(page, "Record with the camera").click()
        page.get_by_role("alert").filter(has_text=sentence).wait_for()
        assert "upload a file" in page.inner_text("#notice") and own_words(page)
        upload(page, video)
        page.wait_for_selector("#result h2")
        assert page.text_content("#notice") == ""


def test_the_picture_takes_the_place_of_a_player_that_cannot_play(video, answers, site, browser, tmp_path):
    """An mp4 of MPEG-4 Part 2, as those of WLASL are, and an avi; then one that can be played has its player."""
    waiting = WaitingRecognizer()
    answers(None, a=offered("a", "American", waiting))
    with visit(browser, site, DESK) as page:
        for name in ("sign.mp4", "sign.avi"):
            upload(page, write_video(tmp_path / name, numbered(12, 160, 120), codec="mpeg4"))
            page.get_by_text("Your browser cannot play this video.").wait_for()
            assert waiting.begun.wait(600) and own_words(page)
            waiting.go_on.set()
            page.wait_for_selector("#stand-in img")
            assert page.inner_text("#stand-in") == "" and not page.is_visible("#video video")
            page.wait_for_selector("figure.strip img")
            assert page.locator("img[alt='The video with its skeleton']").count() == 1  # not below the answer too
            button(page, "Another video").click()
            page.get_by_text("Click to Upload").wait_for()
            waiting.begun.clear()
            waiting.go_on.clear()
        waiting.go_on.set()
        upload(page, write_video(tmp_path / "sign.webm", numbered(12, 160, 120), codec="libvpx"))
        page.wait_for_selector("#result h2")
        assert page.is_visible("#video video") and page.locator("#stand-in").count() == 0
        page.get_by_text("Found in the video").wait_for()
        assert own_words(page)


def test_a_damaged_file_is_told_and_what_is_no_video_is_not_sent(answers, site, browser, tmp_path):
    answers(recognition())
    (tmp_path / "damaged.mp4").write_bytes(b"no video" * 100)
    (tmp_path / "notes.txt").write_bytes(b"text")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "large.mp4").write_bytes(bytes(3 * 2**20))
    (tmp_path / "unknown.MKV").write_bytes(b"no video" * 100)
    sent = []
    with visit(browser, site) as page:
        page.on("request", lambda request: sent.append(request.url) if "/upload?" in request.url else None)
        page.evaluate("gradio_config.max_file_size = 2 * 2 ** 20")
        for name, sentence in {
            "notes.txt": "notes.txt is not a video: choose an mp4, mov, webm, mkv or avi file.",
            "empty.mp4": "empty.mp4 is empty: choose another video.",
            "large.mp4": "The video is larger than 2 MB: send a shorter one.",
        }.items():
            upload(page, tmp_path / name)
            page.get_by_role("alert").filter(has_text=sentence).wait_for()
            assert own_words(page)
        assert sent == []
        upload(page, tmp_path / "damaged.mp4")
        page.get_by_text("damaged.mp4 is not a video that can be read").first.wait_for()
        page.get_by_text("There is no picture of this video.").wait_for()
        assert page.text_content("#notice") == "" and own_words(page) and len(sent) == 1
        page.get_by_test_id("video").get_by_label("Clear").click()
        page.get_by_text("Click to Upload").wait_for()
        # Where the system does not know the kind of a file, its name decides.
        page.evaluate("""() => {
            const input = document.querySelector("#video input[type=file]"), files = new DataTransfer();
            files.items.add(new File(["no video"], "unknown.mkv", {type: ""}));
            input.files = files.files;
            input.dispatchEvent(new Event("change", {bubbles: true}));
        }""")
        page.get_by_text("unknown.mkv is not a video that can be read").first.wait_for()


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A function that starts the page as a process of its own, always at one address."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []

    def start():
        command = [sys.executable, "-m", "helpers.serve", str(port), str(tmp_path / "go")]
        started.append(subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}))
        for _ in range(600):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.2)
        return started[-1], f"http://127.0.0.1:{port}/"

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_restart_is_told_and_takes_no_answer_away(video, program, browser, tmp_path):
    """First with an answer on show, then in the middle of a run."""
    running, site = program()
    beats = []
    with visit(browser, site) as page:
        page.on("request", lambda request: beats.append(request.url) if "/heartbeat/" in request.url else None)
        upload(page, video)
        page.wait_for_selector("#result h2")
        running.kill()
        page.get_by_text("The program does not answer.").wait_for()
        running, _ = program()
        page.get_by_role("alert").filter(has_text="The program was restarted: reload the page").wait_for()
        assert page.inner_text("#result h2") == "book" and own_words(page)
        button(page, "Reload").click()
        page.get_by_text("How to film").wait_for()
        page.get_by_text("signs it knows").first.wait_for()

        upload(page, video.rename(tmp_path / "held.mp4"))
        button(page, "Cancel").wait_for()
        page.wait_for_timeout(1000)
        running.kill()
        program()
        page.get_by_text("The connection broke before there was an answer").wait_for()
        button(page, "Reload").wait_for()
        assert own_words(page)
        assert len(beats) == 3  # of the page that was reloaded, and of each program that came instead of another
        (tmp_path / "go").touch()
        button(page, "Recognise").click()  # even without a reload
        page.wait_for_selector("#result h2")


def test_a_broken_connection_is_told_for_as_long_as_it_lasts(video, answers, site, browser):
    answers(recognition())
    with visit(browser, site) as page:
        upload(page, video)
        page.wait_for_selector("#result h2")
        page.context.set_offline(True)
        button(page, "Another video").click()
        page.get_by_text("The program does not answer.").wait_for()
        assert own_words(page)
        page.context.set_offline(False)
        page.wait_for_function("document.querySelector('#lost').textContent === ''")
        assert own_words(page)
        upload(page, video)
        page.wait_for_selector("#result h2")
