"""Uploads as the server takes, keeps and deletes them."""

import asyncio
import io
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers.page import outcome, recognition
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from dsta.common import UserError
from dsta.page import gate
from dsta.page.gate import Gate
from dsta.page.uploads import Uploads

UPLOAD, CALL = "/gradio_api/upload", "/gradio_api/call/v2/ask"


def ask(file: str, top_k: int = 5) -> None:
    """What programs may call here."""


@pytest.fixture
def uploads(tmp_path):
    return Uploads(lambda: tmp_path)


@pytest.fixture
def client(uploads):
    async def through(request: Request) -> PlainTextResponse:
        return PlainTextResponse(b"through " + await request.body())

    everything = Route("/{path:path}", through, methods=["GET", "POST", "PUT", "DELETE"])
    return TestClient(
        Starlette(routes=[everything], middleware=[Middleware(Gate, uploads=uploads, calls={"ask": ask})])
    )


def kept(uploads):
    return [path for path in uploads.folder.rglob("*") if path.is_file()]


def test_ten_visitors_with_the_same_file_are_all_answered(client, uploads, video, answers):
    answers(recognition())

    def visit(number):
        (path,) = client.post(UPLOAD, files={"files": ("sign.mp4", video.read_bytes())}).json()
        return path.split("/")[-2]

    with ThreadPoolExecutor(10) as visitors:
        runs_of_all = list(visitors.map(visit, range(10)))
        assert len(set(runs_of_all)) == 10
        said = list(visitors.map(lambda run: outcome(uploads, run, "a"), runs_of_all))
    assert all("Best match" in one["answer"] for one in said) and [one["run"] for one in said] == runs_of_all
    assert not kept(uploads)


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"files": {"other": ("a.mp4", b"x")}}, 400),
        ({"files": [("files", ("a.mp4", b"x")), ("files", ("b.mp4", b"y"))]}, 400),
        ({"data": {"files": "x"}}, 400),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400),
        ({"content": b"x"}, 400),
        ({"files": {"files": ("a.mp4", b"x" * 40_000)}}, 413),
    ],
    ids=["other field", "two files", "no file", "no boundary", "no form", "too large"],
)
def test_what_is_no_single_video_leaves_nothing(client, uploads, form, status, monkeypatch):
    monkeypatch.setattr(gate, "MAX_BYTES", 20_000)
    answer = client.post(UPLOAD, **form)
    assert (answer.status_code, answer.text.count(".")) == (status, 1) and not kept(uploads)


def test_a_body_is_counted_where_its_head_does_not_say_how_long_it_is(client, uploads, monkeypatch):
    monkeypatch.setattr(gate, "MAX_BYTES", 20_000)
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
    body = (piece for piece in [head, *[b"x" * 1000] * 50])
    form = {"content-type": "multipart/form-data; boundary=x"}
    assert client.post(UPLOAD, content=body, headers=form).status_code == 413 and not kept(uploads)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("../../x.mp4", "x.mp4"), ("a/b\\c.mov", "c.mov"), (".x", "x"), ("..", "video"), ("", "video"),
        ("<b>\0\n.mp4", "_b___.mp4"), ("é" * 300 + ".mp4", "é" * 56 + ".mp4"),
    ],
)  # fmt: skip
def test_a_name_is_made_harmless(uploads, name, plain):
    path = uploads.keep(io.BytesIO(b"x"), name)
    assert path.name == plain and path.parent.parent == uploads.folder


def test_a_full_disk_leaves_no_part_of_a_file(uploads):
    class Full(io.BytesIO):
        def read(self, *_):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        uploads.keep(Full(), "a.mp4")
    assert not list(uploads.folder.iterdir())


def test_the_sweeper_deletes_what_is_old_and_only_in_its_own_folder(uploads, tmp_path):
    old, new = (uploads.keep(io.BytesIO(b"x"), "a.mp4") for _ in range(2))
    foreign = tmp_path / "foreign"
    foreign.write_text("")
    for path in (old.parent, foreign):
        os.utime(path, (time.time() - 541,) * 2)
    uploads.sweep()
    assert not old.parent.exists() and new.exists() and foreign.exists()


def test_the_sweepers_work_while_the_server_runs(uploads, monkeypatch):
    swept, also = [], []
    monkeypatch.setattr(uploads, "sweep", lambda: swept.append(1))
    monkeypatch.setattr(gate, "_SWEEP_EVERY", 0.01)
    with TestClient(Starlette(middleware=[Middleware(Gate, uploads=uploads, also=[lambda: also.append(1)])])):
        deadline = time.monotonic() + 60
        while min(len(swept), len(also)) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert len(swept) >= 3 and len(also) >= 3


def test_text_that_is_no_run_is_not_kept_and_ends_the_earlier_one_all_the_same(uploads):
    path = uploads.keep(io.BytesIO(b"x"), "a.mp4")
    uploads.claim("me", path.parent.name)
    uploads.claim("you", "x" * 90_000)
    assert path.exists() and uploads._runs == {"me": path.parent.name}
    uploads.claim("me", "x" * 90_000)
    assert not path.exists() and not uploads._runs


BEGUN = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\nx'


async def send_upload(to, content, more=False, until=None):
    """Sends an upload, or its beginning; then waits for an event, and goes away -> status and text of the answer."""
    ahead, said = [{"type": "http.request", "body": content, "more_body": more}], []

    async def receive():
        if ahead:
            return ahead.pop()
        if until is not None:
            await until.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        said.append(message)

    form = [(b"content-type", b"multipart/form-data; boundary=x")]
    await to({"type": "http", "method": "POST", "path": UPLOAD, "headers": form}, receive, send)
    return (said[0]["status"], said[1]["body"].decode()) if said else None


def test_twenty_uploads_may_be_under_way_and_each_makes_room_however_it_ends(uploads):
    async def visit():
        to, go = Gate(None, uploads), asyncio.Event()
        arriving = [asyncio.create_task(send_upload(to, BEGUN, True, go)) for _ in range(20)]
        await asyncio.sleep(0.1)
        refused = await send_upload(to, BEGUN, True)
        go.set()
        left = await asyncio.gather(*arriving)
        bad = [await send_upload(to, b"x") for _ in range(21)]
        return refused, left, bad, await send_upload(to, BEGUN + b"\r\n--x--\r\n")

    refused, left, bad, after = asyncio.run(visit())
    assert refused == (503, "Too many videos are being looked at: try again in a few minutes.")
    assert left == [None] * 20 and [status for status, _ in bad] == [400] * 21
    assert after[0] == 200 and len(kept(uploads)) == 1


def test_an_upload_that_takes_too_long_is_ended(uploads, monkeypatch):
    monkeypatch.setattr(gate, "_ARRIVES_WITHIN", 0.1)

    async def visit():
        to = Gate(None, uploads)
        return await asyncio.wait_for(send_upload(to, BEGUN, True, asyncio.Event()), 60), to._arriving

    assert asyncio.run(visit()) == ((408, "The video took too long to arrive: send a shorter one."), 0)
    assert not kept(uploads)


@pytest.mark.parametrize(
    ("method", "route"),
    [
        ("POST", "/gradio_api/process_recording"), ("GET", "/monitoring"), ("GET", "/monitoring/summary"),
        ("POST", "/gradio_api/api/predict"), ("POST", "/gradio_api/call/recognise"), ("POST", "/login"),
        ("POST", "/gradio_api/component_server"), ("GET", "/gradio_api/proxy=http://127.0.0.1"), ("GET", "/upload"),
        ("PUT", "/"), ("DELETE", "/gradio_api/upload"), ("GET", "/gradio_api/run/predict"), ("POST", "/config"),
        ("GET", "/gradio_api/openapi.json"), ("GET", "/gradio_api/stream/a/1/2/playlist.m3u8"), ("GET", "/x"),
    ],
)  # fmt: skip
def test_what_the_page_does_not_need_is_closed(client, method, route):
    assert client.request(method, route, json={}).status_code == 404


@pytest.mark.parametrize("route", ["/", "/config", "/assets/a/b.js", "/gradio_api/file=/a b.mp4", "/gradio_api/info/"])
def test_what_the_page_reads_is_open(client, route):
    assert (client.get(route).text, client.head(route).status_code) == ("through ", 200)


def test_programs_may_call_what_is_offered_and_fetch_the_answer(client):
    assert client.post(CALL, json={"file": "x"}).status_code == client.get(f"{CALL}/0a1b").status_code == 200
    for wrong in ({"file": "x", "other": 1}, ["x"], {"data": ["x"]}):
        answer = client.post(CALL, json=wrong)
        assert (answer.status_code, answer.text) == (400, "This call takes an object of JSON with file and top_k.")
    assert client.post("/gradio_api/mcp/", json={"id": 1}).status_code == 200
    closed = [("GET", CALL), ("POST", f"{CALL}/0a1b"), ("GET", f"{CALL}/a/b"), ("DELETE", CALL), ("GET", f"{CALL}/")]
    closed += [(method, f"/gradio_api/call/v2/{name}") for name in ("", "show", "ask2") for method in ("GET", "POST")]
    closed += [("POST", "/gradio_api/call/ask"), ("GET", "/gradio_api/mcp/"), ("DELETE", "/gradio_api/mcp")]
    closed += [("GET", f"/gradio_api/mcp/{name}") for name in ("sse", "schema")] + [("POST", "/gradio_api/mcp/http")]
    for method, route in closed:
        assert client.request(method, route, json={"file": "x"}).status_code == 404, route


@pytest.mark.parametrize("route", ["/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/cancel"])
def test_json_comes_through_whole_unless_it_is_long_or_names_a_file(client, route):
    def answer(content):
        said = client.post(route, content=content)
        return said.status_code, said.text

    assert answer(b'{"data": ["\xc3\xa9"]}') == (200, 'through {"data": ["é"]}')
    assert answer(b'["' + b"x" * 100_000 + b'"]')[0] == 413
    assert answer(b"[" * 50_000)[0] == 400 and answer(b"no")[0] == 400
    for path in ("http://127.0.0.1/a.mp4", "/tmp"):
        file = f'{{"data": [{{"path": "{path}", "meta": {{"_type": "gradio.\\u0046ileData"}}}}]}}'
        assert answer(file.encode()) == (200, 'through {"data": [""]}')
    run = "A" * 22
    file = f'{{"path": "/x/dsta/{run}/a b.mp4", "url": "http://127.0.0.1", "meta": {{"_type": "gradio.FileData"}}}}'
    assert answer(f'{{"deep": [{file}]}}'.encode()) == (200, f'through {{"deep": ["/x/dsta/{run}/a b.mp4"]}}')
    assert answer(b'["gradio.FileData"]') == (400, "Files are uploaded; no path or address of one is taken.")


JOIN = "/gradio_api/queue/join"


def test_who_fetches_no_answers_may_ask_no_more_and_others_may(client):
    def join(session):
        return client.post(JOIN, json={"data": ["é"], "session_hash": session})

    assert [join("a").status_code for _ in range(21)] == [200] * 20 + [429]
    assert join("b").text == 'through {"data":["é"],"session_hash":"b"}'
    assert client.get("/gradio_api/queue/data?session_hash=a").status_code == 200
    assert join("a").status_code == 200
    assert [join(f"{number}").status_code for number in range(49)] == [200] * 48 + [429]
    assert client.post("/gradio_api/run/predict", json={"session_hash": "x"}).status_code == 200  # not of the queue
    assert client.post(JOIN, json=[1]).status_code == 429  # no session is one too
    from_elsewhere = TestClient(client.app, client=("elsewhere", 1))
    assert from_elsewhere.post(JOIN, json={"session_hash": "z"}).status_code == 200


def test_a_program_that_fetches_no_answers_may_ask_no_more(client):
    assert [client.post(CALL, json={"file": "x"}).status_code for _ in range(21)] == [200] * 20 + [429]
    assert client.get(f"{CALL}/0a1b").status_code == client.post(CALL, json={"file": "x"}).status_code == 200
    assert TestClient(client.app, client=("elsewhere", 1)).post(CALL, json={"file": "x"}).status_code == 200


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (OSError(28, "No space left on device"), 507, "no room left for a video: try again later."),
        (UserError("Too many videos."), 503, "Too many videos."),
    ],
)
def test_an_upload_that_cannot_be_kept_is_told(client, uploads, monkeypatch, error, status, words):
    def fails(*_):
        raise error

    monkeypatch.setattr(uploads, "keep", fails)
    answer = client.post(UPLOAD, files={"files": ("a.mp4", b"x")})
    assert answer.status_code == status and answer.text.endswith(words)


def test_all_uploads_together_have_a_limit(uploads, monkeypatch):
    monkeypatch.setattr("dsta.page.uploads._MOST_KEPT", 10)
    first = uploads.keep(io.BytesIO(b"x" * 11), "a.mp4")
    with pytest.raises(UserError, match="try again in a few minutes"):
        uploads.keep(io.BytesIO(b"x"), "b.mp4")
    uploads.delete(first.parent.name)
    assert uploads.keep(io.BytesIO(b"x"), "b.mp4").exists()


def test_the_servers_end_leaves_nothing_of_its_own(client, uploads):
    foreign = Uploads(lambda: uploads.folder.parent).keep(io.BytesIO(b"x"), "a.mp4")
    with client:
        client.post(UPLOAD, files={"files": ("a.mp4", b"x")})
        assert len(kept(uploads)) == 2
    assert kept(uploads) == [foreign]
