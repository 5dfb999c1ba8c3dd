"""The page where it is hosted: as the README's command starts it, as a Space does, at a port that the host chooses."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml
from helpers.clips import signer
from helpers.media import numbered, write_video

import app
from dsta.common import UserError
from dsta.keypoints import Pose

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CLIPS = ROOT.parent / "shared" / "data" / "wlasl_clips"

NO_NETWORK = """
import socket
LOCAL = ("127.0.0.1", "::1", "0.0.0.0", "localhost", None, "")
def guarded(real, place):
    def call(*given, **named):
        host = place(*given)
        if not (host in LOCAL or isinstance(host, bytes)):
            with open({log!r}, "a") as log:
                print(host, file=log)
            raise OSError("no network")
        return real(*given, **named)
    return call
socket.getaddrinfo = guarded(socket.getaddrinfo, lambda host, *_: host)
class Socket(socket.socket):
    def connect(self, address):
        where = address[0] if isinstance(address, tuple) else None
        return guarded(super().connect, lambda _: where)(address)
socket.socket = Socket
"""


@pytest.mark.parametrize("reachable", [True, False])
def test_the_readmes_command_goes_on_without_pytorchs_index(tmp_path, reachable):
    """By stand-ins for python3 and pip, which write down how they are called."""
    (command,) = re.findall(r"^python3 -m venv.*?app\.py$", README, re.MULTILINE | re.DOTALL)
    pip = f'#!/bin/sh\necho "pip $@" >>{tmp_path}/log\n'
    pip += "" if reachable else 'case "$*" in *pre-requirements*) exit 1;; esac\n'
    made = {"pip": pip, "python": f'#!/bin/sh\necho "python $@" >>{tmp_path}/log\n'}
    python3 = "#!/bin/sh\nmkdir -p .venv/bin; cp made/* .venv/bin/\n"
    for name, text in {**{f"made/{name}": text for name, text in made.items()}, "path/python3": python3}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}/path:{os.environ['PATH']}"
    subprocess.run(["bash", "-c", command], cwd=tmp_path, env={"PATH": path}, check=True)
    first, second, third = (tmp_path / "log").read_text().splitlines()
    assert "-r pre-requirements.txt" in first and "--retries" in first  # pip would try five times
    assert (second, third) == ("pip install -r requirements.txt", "python app.py")


def test_torch_without_cuda_is_torch_of_the_same_releases():
    lines = [line for line in (ROOT / "pre-requirements.txt").read_text().splitlines() if not line.startswith("#")]
    index, torch = lines
    assert index.startswith("--index-url https://download.pytorch.org/whl/cpu")
    assert torch in (ROOT / "requirements.txt").read_text().splitlines()
    assert "--" not in (ROOT / "requirements.txt").read_text()  # an index there would be asked for every library


def test_the_head_of_the_readme_is_a_spaces(project_head):
    assert project_head["sdk"] == "gradio" and project_head["app_file"] == "app.py"
    (gradio,) = re.findall(r"^gradio>=([\d.]+),", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert str(project_head["sdk_version"]).startswith(gradio)
    assert tuple(map(int, project_head["python_version"].split(".")[:2])) >= (3, 11)
    assert project_head["license"] == "other" and len(project_head["short_description"]) <= 60
    assert "code" in project_head["license_name"] and "weights" in project_head["license_name"]
    assert (ROOT / project_head["license_link"]).is_file()


@pytest.fixture
def project_head():
    return yaml.safe_load(README.split("---\n")[1])


@pytest.fixture
def never_served(monkeypatch):
    """Serving would never end."""
    monkeypatch.setattr(app.demo, "block_thread", lambda: pytest.fail("it was served"))


@pytest.mark.usefixtures("never_served")
@pytest.mark.parametrize("port", ["abc", "0", "65536", "", "-1", "9" * 5000, "٣"])
def test_a_port_that_is_none_is_refused_in_a_sentence(port, monkeypatch):
    monkeypatch.setenv("PORT", port)
    with pytest.raises(UserError, match="set a number from 1 to 65535"):
        app.start()


@pytest.mark.usefixtures("never_served")
def test_a_port_that_is_taken_is_a_sentence(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("PORT", str(other.getsockname()[1]))
        with pytest.raises(UserError, match="is taken"):
            app.start()


@pytest.mark.slow
def test_a_space_starts_from_a_clean_environment_without_a_network_and_recognises(tmp_path):
    """A copy of what is committed or would be, an empty HOME, the variables of a Space, and PORT."""
    names = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    files = subprocess.run(names, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in files:
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (tmp_path / "app" / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(ROOT / name, tmp_path / "app" / name) if _same_disk(tmp_path) else _copy(name, tmp_path)
    (tmp_path / "guard").mkdir()
    log = tmp_path / "asked"
    (tmp_path / "guard" / "sitecustomize.py").write_text(NO_NETWORK.format(log=str(log)))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "PYTHONPATH": str(tmp_path / "guard")}
    clean |= {"SYSTEM": "spaces", "SPACE_ID": "user/signs", "SPACE_HOST": "user-signs.hf.space", "LANG": "C.UTF-8"}
    clean |= {"SPACE_AUTHOR_NAME": "user", "SPACE_REPO_NAME": "signs", "GRADIO_SERVER_NAME": "0.0.0.0"}
    clean |= {"GRADIO_SERVER_PORT": "7860", "PORT": str(port), "TMPDIR": str(tmp_path)}
    (tmp_path / "home").mkdir()
    address = f"http://127.0.0.1:{port}"
    with (tmp_path / "out").open("wb") as out:
        page = subprocess.Popen(
            [sys.executable, "app.py"], cwd=tmp_path / "app", env=clean, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        _wait(page, address, tmp_path / "out")
        proxied = {"x-forwarded-host": "user-signs.hf.space", "x-forwarded-proto": "https"}
        assert "https://user-signs.hf.space/card.png" in httpx.get(f"{address}/", headers=proxied).text
        Pose(signer(), 15, 512, 512, "mediapipe-holistic").save(tmp_path / "sign.npz")
        assert len(_answer(address, tmp_path / "sign.npz")["predictions"]) == 5
        nobody = write_video(tmp_path / "nobody.mp4", numbered(12, 160, 120), codec="mpeg4")
        assert "nobody.mp4" in _answer(address, nobody)["error"]  # MediaPipe was there, and found nobody
        for clip in sorted(CLIPS.glob("*.mp4"))[1:2]:
            assert _answer(address, clip)["predictions"][0]["score"] > 1 / 71
    finally:
        page.terminate()
        page.wait(60)
    assert not log.exists(), log.read_text()
    assert "/dsta/" not in (tmp_path / "out").read_text()  # as a traceback of ours would say
    assert not [path for path in tmp_path.glob("gradio/dsta/*") if path.exists()]


def _same_disk(place: Path) -> bool:
    return place.stat().st_dev == ROOT.stat().st_dev


def _copy(name: str, place: Path) -> None:
    (place / "app" / name).write_bytes((ROOT / name).read_bytes())


def _wait(page: subprocess.Popen, address: str, out: Path) -> None:
    deadline = time.monotonic() + 300  # torch, mediapipe and gradio are imported, while others test
    while time.monotonic() < deadline:
        assert page.poll() is None, out.read_text()
        try:
            if httpx.get(f"{address}/config", timeout=10).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise AssertionError(out.read_text())


def _answer(address: str, file: Path) -> dict:
    with file.open("rb") as content:
        (path,) = httpx.post(f"{address}/gradio_api/upload", files={"files": content}, timeout=60).json()
    call = f"{address}/gradio_api/call/v2/recognise"
    run = httpx.post(call, json={"file": path}, timeout=60).json()["event_id"]
    said = json.loads(httpx.get(f"{call}/{run}", timeout=300).text.split("data: ")[-1])
    return said[0] if isinstance(said, list) else said
