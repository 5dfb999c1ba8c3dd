"""The package: what it is built from, and that an installed one works from anywhere."""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.clips import made_clip

import dsta.__main__
from dsta.keypoints import Pose

ROOT = Path(__file__).resolve().parents[1]


def lines(path):
    """The requirements of a file, those of the file that it includes left out."""
    text = (line.split("#")[0].strip() for line in (ROOT / path).read_text().splitlines())
    return {line for line in text if line and not line.startswith("-r")}


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_requirements_are_those_of_the_package(project):
    needs, extras = set(project["project"]["dependencies"]), project["project"]["optional-dependencies"]
    assert lines("requirements.txt") == needs | set(extras["page"]) | set(extras["evaluate"])
    of_tests = {
        need for name in ("mcp", "prepare", "export", "dev") for need in extras[name] if not need.startswith("dsta-slr")
    }
    assert lines("tests/requirements.txt") == of_tests
    assert set(extras["dev"]) & {f"dsta-slr[{','.join(name for name in extras if name != 'dev')}]"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_has_all_that_comes_along(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    listed = json.loads((ROOT / "weights" / "manifest.json").read_text())
    assert {f"dsta/weights/{name}" for name in listed} <= names
    code = {
        path.relative_to(ROOT).as_posix()
        for wing in ("dsta", "leaderboard")
        for path in (ROOT / wing).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert code <= names and "dsta/page/app.py" in names
    assert not {name for name in names if name.startswith(("eval/", "tests/", "docs/"))}


@pytest.mark.slow
def test_installed_it_recognises_a_skeleton_from_anywhere(wheel, tmp_path):
    """In an environment of its own, which borrows the libraries of this one, and with no network."""
    venv.create(tmp_path / "env", with_pip=False)
    inside = tmp_path / "env" / "bin" / "python"
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(inside),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    run = subprocess.run(install, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    (site,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    place = tmp_path / "elsewhere"
    place.mkdir()
    Pose(made_clip(), 25, 512, 512, "mediapipe-holistic").save(place / "sign.npz")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def answer(*command):
        run = subprocess.run(command, cwd=place, env=clean, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        return run.stdout

    first = json.loads(answer(str(tmp_path / "env" / "bin" / "dsta"), "recognize", "sign.npz", "--json"))
    scores = [prediction["score"] for prediction in first["predictions"]]
    assert len(scores) == 5 and scores == sorted(scores, reverse=True) and scores[0] > 1 / 71
    code = "import dsta; r = dsta.Recognizer.load(); print(dsta.__file__, r.recognize('sign.npz').predictions[0].gloss)"
    file, gloss = answer(str(inside), "-c", code).split()
    assert gloss == first["predictions"][0]["gloss"] and Path(file).is_relative_to(tmp_path / "env")


@pytest.mark.parametrize("command", [name for name in dsta.__main__.COMMANDS if name != "page"])
def test_each_command_has_its_own_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        dsta.__main__.main([command, "--help"])
    assert stop.value.code == 0 and f"dsta.{command}" in capsys.readouterr().out


def test_a_command_passes_its_exit_code_on(tmp_path, capsys):
    assert dsta.__main__.main(["recognize", str(tmp_path / "none.npz")]) == 2
    assert "was not found" in capsys.readouterr().err


def test_without_gradio_the_page_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert dsta.__main__.main(["page"]) == 2
    assert "pip install" in capsys.readouterr().err


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        dsta.__main__.main(["recognise"])
    assert stop.value.code == 2 and "invalid choice" in capsys.readouterr().err


def test_the_readme_installs_what_there_is(project):
    """The commands of the README that name extras or the console command."""
    readme = (ROOT / "README.md").read_text()
    assert "pip install ." in readme or "pip install '.[" in readme
    assert np.all([f"dsta {name}" in readme or name in readme for name in dsta.__main__.COMMANDS])
    assert project["project"]["scripts"] == {"dsta": "dsta.__main__:main"}
