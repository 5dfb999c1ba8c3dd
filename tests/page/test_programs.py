"""Programs ask the page, through the loopback, with the clients that docs/api.md names."""

import asyncio
import base64
import contextlib
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from helpers.clips import signer
from helpers.page import GLOSSES, FakeRecognizer, offered, on_the_loopback, recognition

from dsta.common import UserError
from dsta.keypoints import Pose
from dsta.page import panels, programs
from dsta.page.uploads import MAX_BYTES, run_of
from dsta.page.vocabularies import Vocabulary

DOCS = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
NO_UPLOAD = "This is no upload"


def snippet(language):
    (text,) = re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)
    return text


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The page's address and the folder of its uploads; what it knows is each test's."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("uploads")
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        with on_the_loopback() as address:
            yield address.rstrip("/"), folder


@pytest.fixture
def address(site, answers):
    """The page's address; that no test leaves a file there is always held."""
    answers(recognition(), b=offered("b", "", FakeRecognizer(UserError("No hand in it."), ("yes", "Alas"))))
    yield site[0]
    left = [path for path in site[1].rglob("*") if path.is_file()]
    assert not left


def upload(address, content, name="sign.mp4"):
    return httpx.post(f"{address}/gradio_api/upload", files={"files": (name, content)}, timeout=60).json()[0]


def call(address, name, **given):
    """-> the event that the call comes to, and its data."""
    where = f"{address}/gradio_api/call/v2/{name}"
    run = httpx.post(where, json=given, timeout=60).json()["event_id"]
    said = httpx.get(f"{where}/{run}", timeout=60).text
    event, data = re.findall(r"event: (\w+)\ndata: (.*)\n", said)[-1]
    return event, json.loads(data)


def refused(address, name, **given):
    """The sentence with which a call is refused."""
    event, data = call(address, name, **given)
    assert event == "error"
    return data["error"]


def test_the_page_and_the_docs_give_the_same_lines():
    for language, text in (("sh", programs.CURL), ("python", programs.PYTHON), ("json", programs.MCP)):
        assert snippet(language) == text.replace("ADDRESS", "http://127.0.0.1:7860")
    assert "/gradio_api/mcp/" in programs.use_html(True) and "/gradio_api/mcp/" not in programs.use_html(False)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_curl(address, video):
    commands = snippet("sh").replace("http://127.0.0.1:7860", address)
    run = subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=video.parent, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (answer,) = json.loads(run.stdout.split("event: complete\ndata: ")[1])
    assert list(answer) == ["file", "predictions", "streams", "quality", "timings"]  # as the command line prints it
    assert answer["file"] == "sign.mp4" and [p["gloss"] for p in answer["predictions"]] == list(GLOSSES[:5])


def test_python(address, video, monkeypatch, capsys):
    monkeypatch.chdir(video.parent)
    exec(snippet("python").replace("http://127.0.0.1:7860", address), {})
    assert capsys.readouterr().out.endswith("\nbook\n")


def test_what_programs_are_told_of_the_endpoints(address):
    known = httpx.get(f"{address}/gradio_api/info").json()["named_endpoints"]
    assert list(known) == ["/recognise", "/vocabulary", "/leaderboard"]
    types = {p["parameter_name"]: p["python_type"]["type"] for p in known["/recognise"]["parameters"]}
    assert types == {"file": "str", "vocabulary": "str", "top_k": "int"}
    for endpoint in known.values():
        assert len(endpoint["description"]) > 50


def test_vocabulary_and_leaderboard(address):
    event, (said,) = call(address, "vocabulary")
    expected = {"vocabulary": "a", "language": "American Sign Language", "vocabularies": ["a", "b"]}
    assert event == "complete" and said == expected | {"glosses": sorted(GLOSSES)}
    assert call(address, "vocabulary", vocabulary="b")[1][0]["glosses"] == ["Alas", "yes"]
    rows = Client(address, verbose=False).predict(dataset="WLASL100", protocol="test", api_name="/leaderboard")
    assert {row["dataset"] for row in rows} == {"WLASL100"} and {row["protocol"] for row in rows} == {"test"}
    best = next(row for row in rows if row["streams"].count("+") == 3 and row["fusion"] == "fitted")
    assert best["n"] == 258 and best["top1_instance"] == pytest.approx(0.868, abs=1e-3) and best["command"]
    (everything,) = call(address, "leaderboard")[1]
    assert any(row["top1_instance"] is None and row["reason"] for row in everything)
    for name in ("dataset", "protocol"):
        assert "WLASL100" in refused(address, "leaderboard", **{name: "none"}) or name == "protocol"
    assert "there is a, b" in refused(address, "vocabulary", vocabulary="../..")


def test_the_skeleton_that_an_answer_offers_is_recognised_alike(address, write, answers):
    recognizer = Vocabulary(write("tiny", size=3), "", "tiny").recognizer()
    answers(None, tiny=offered("tiny", "", recognizer))
    first = recognizer.recognize(Pose(signer(), 15, 512, 512, "mediapipe-holistic"))
    html = panels.answer_html(first, "a <b>.mp4", Vocabulary(Path("tiny"), "", "tiny"))
    links = re.findall(r'download="a &lt;b&gt;(\.\w+)" href="data:application/octet-stream;base64,([^"]+)"', html)
    assert [ending for ending, _ in links] == [".npz", ".pose"]
    for ending, content in links:
        path = upload(address, base64.b64decode(content), f"sign{ending}")
        event, (answer,) = call(address, "recognise", file=path, vocabulary="tiny", top_k=2)
        assert (event, answer["file"], len(answer["predictions"])) == ("complete", f"sign{ending}", 2)
        for ours, theirs in zip(answer["predictions"], first.predictions, strict=False):
            assert ours == {"gloss": theirs.gloss, "score": pytest.approx(theirs.score, abs=1e-4)}


@pytest.mark.parametrize("ending", [".npz", ".pose"])
def test_an_encoded_skeleton_is_the_file_that_save_writes(ending, tmp_path):
    pose = recognition().pose
    (tmp_path / f"sign{ending}").write_bytes(pose.encoded(ending))
    again = Pose.load(tmp_path / f"sign{ending}")
    np.testing.assert_allclose(again.keypoints, pose.keypoints, atol=1e-4)
    assert (again.fps, again.width, again.estimator) == (pose.fps, pose.width, pose.estimator)


@pytest.mark.parametrize(
    "given",
    [
        {}, {"file": ""}, {"file": "/etc/passwd"}, {"file": "http://127.0.0.1:9/sign.mp4"}, {"file": ["sign.mp4"]},
        {"file": None}, {"file": "/x/dsta/../../etc/passwd"}, {"file": "x" * 90_000},
        {"file": {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}},
        {"file": {"path": "", "url": "http://127.0.0.1:9/a.mp4", "meta": {"_type": "gradio.FileData"}}},
    ],
)  # fmt: skip
def test_what_is_no_upload_is_refused_and_not_read(address, given):
    assert NO_UPLOAD in refused(address, "recognise", **given)


def test_an_upload_is_good_for_one_call(address, video):
    path = upload(address, video.read_bytes())
    assert run_of(path) and call(address, "recognise", file=f"{address}/gradio_api/file={path}")[0] == "complete"
    assert "already been deleted" in refused(address, "recognise", file=path)
    for given, sentence in (({"top_k": 0}, "whole number"), ({"vocabulary": "none"}, "there is a, b")):
        path = upload(address, video.read_bytes())
        assert sentence in refused(address, "recognise", file=path, **given)
        assert "already been deleted" in refused(address, "recognise", file=path)
    assert refused(address, "recognise", file=upload(address, video.read_bytes()), vocabulary="b") == "No hand in it."


def test_what_a_call_does_not_know_is_refused(address):
    answer = httpx.post(f"{address}/gradio_api/call/v2/recognise", json={"data": []})
    assert (answer.status_code, answer.text.count(".")) == (400, 1) and "file and vocabulary and top_k" in answer.text


def test_an_address_is_refused_in_a_sentence_and_not_fetched(address):
    asked = []

    async def serve(reader, writer):
        asked.append(await reader.readline())
        writer.close()

    async def ask():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = await asyncio.to_thread(Client, address, verbose=False)
        with pytest.raises(AppError, match=NO_UPLOAD):
            file = handle_file(f"http://127.0.0.1:{port}/a.mp4")
            await asyncio.to_thread(client.predict, file=file, api_name="/recognise")
        server.close()

    asyncio.run(ask())
    assert not asked


def test_mcp(address, video):
    pytest.importorskip("mcp")
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def ask():
        where = json.loads(snippet("json").replace("http://127.0.0.1:7860", address))["mcpServers"]["signs"]["url"]
        async with streamable_http_client(where) as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            path = upload(address, video.read_bytes())
            given = [("recognise", {"file": f"{address}/gradio_api/file={path}", "top_k": 1}), ("vocabulary", {})]
            given += [("recognise", {"file": "/etc/passwd"}), ("leaderboard", {"dataset": "none"})]
            return tools, [await session.call_tool(*one) for one in given]

    tools, (answer, words, refusal, none) = asyncio.run(ask())
    assert list(tools) == ["recognise", "vocabulary", "leaderboard"]
    described = tools["recognise"].inputSchema["properties"]
    assert "skeleton" in tools["recognise"].description and "/gradio_api/upload" in described["file"]["description"]
    assert not answer.isError and "'gloss': 'book'" in answer.content[0].text
    assert not words.isError and "Alas" not in words.content[0].text and "help" in words.content[0].text
    assert refusal.isError and NO_UPLOAD in refusal.content[0].text
    assert none.isError and "there is WLASL100" in none.content[0].text


@pytest.mark.slow
def test_zeros_and_a_hundred_calls_in_a_row(address):
    assert "not a video" in refused(address, "recognise", file=upload(address, io.BytesIO(bytes(MAX_BYTES))))
    with contextlib.suppress(httpx.WriteError):  # where the server has already said no and closed
        more = {"files": ("a.mp4", io.BytesIO(bytes(MAX_BYTES + 20_000)))}
        assert httpx.post(f"{address}/gradio_api/upload", files=more, timeout=60).status_code == 413
    with httpx.Client(timeout=60) as client:
        where = f"{address}/gradio_api/call/v2/recognise"
        for number in range(100):
            run = client.post(where, json={"file": f"/tmp/{number}.mp4"}).json()["event_id"]
            assert NO_UPLOAD in client.get(f"{where}/{run}").text
    assert call(address, "vocabulary")[0] == "complete"


def test_a_second_page_is_served_after_the_first(site):
    with on_the_loopback() as second:
        assert httpx.get(f"{second}config").status_code == 200
