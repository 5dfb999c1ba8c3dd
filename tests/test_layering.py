"""Which room may import which, held against every import in the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EVERYTHING = {path.stem for path in (ROOT / "dsta").glob("*.py")}

# Everyone may import errors and files.
MAY_IMPORT = {
    "dsta/__init__": "",
    "dsta/errors": "",
    "dsta/files": "",
    "dsta/skeleton": "",
    "dsta/keypoints": "skeleton",
    "dsta/streams": "skeleton",
    "dsta/augment": "skeleton streams",
    "dsta/metrics": "",
    "dsta/datasets": "",
    "dsta/labels": "",
    "dsta/data": "skeleton keypoints streams augment datasets labels prepared",
    "dsta/model": "skeleton",
    "dsta/folded": "model",
    "dsta/upstream": "labels model",
    "dsta/hub": "",
    "dsta/manifest": "",
    "dsta/order": "",
    "dsta/checkpoint": "model streams datasets skeleton upstream hub manifest order",
    "dsta/findings": "",
    "dsta/devices": "",
    "dsta/identify": "checkpoint upstream data datasets devices findings metrics model order streams",
    "dsta/export": "checkpoint streams data onnxgraph recognize skeleton",
    "dsta/onnxgraph": "",
    "dsta/upright": "",
    "dsta/video": "upright",
    "dsta/pose": "skeleton keypoints video",
    "dsta/lists": "",
    "dsta/prepared": "skeleton",
    "dsta/parts": "keypoints lists pose video",
    "dsta/memory": "",
    "dsta/workers": "memory",
    "dsta/assemble": "lists parts prepared skeleton streams",
    "dsta/prepare": "assemble keypoints lists parts prepared stop video workers",
    "dsta/stop": "",
    "dsta/distributed": "model",
    "dsta/recipes": "augment streams",
    "dsta/sampling": "data",
    "dsta/loader": "augment data distributed memory recipes sampling skeleton streams",
    "dsta/splits": "data datasets",
    "dsta/loop": "distributed model recipes stop streams",
    "dsta/fit": "checkpoint data loader loop manifest model recipes sampling splits streams",
    "dsta/stacked": "checkpoint fit loader loop memory model recipes skeleton",
    "dsta/train": "checkpoint data devices distributed fit loop manifest model recipes splits stop streams",
    "dsta/draw": "skeleton",
    "dsta/recognize": "checkpoint folded streams keypoints pose data skeleton manifest",
    "dsta/vocabularies": "checkpoint manifest pose recognize streams",
    "eval/results": "datasets",
    "leaderboard/table": "eval.results datasets metrics",
    "leaderboard/tab": "eval.results datasets metrics leaderboard",
    "leaderboard/chart": "",
    "leaderboard/__init__": "",
    "app": "recognize draw video keypoints vocabularies leaderboard",
}
EVAL = EVERYTHING - {"pose", "video", "recognize", "vocabularies"} | {
    f"eval.{path.stem}" for path in (ROOT / "eval").glob("*.py")
}
LIBRARIES = {
    "av": {"dsta/video", "dsta/upright"},
    "mediapipe": {"dsta/pose"},
    "gradio": {"app", "leaderboard/tab"},
    "huggingface_hub": {"dsta/hub"},
    "torch": {f"dsta/{room}" for room in ("data", "model", "folded", "checkpoint", "export", "train")}
    | {"dsta/recognize", "dsta/identify", "dsta/upstream", "dsta/onnxgraph"}
    | {f"dsta/{room}" for room in ("devices", "distributed", "recipes", "loader", "loop", "fit", "stacked")},
}

FOLDERS = ("dsta", "eval", "leaderboard")
FILES = [ROOT / "app.py", *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))]
ROOMS = {path.relative_to(ROOT).with_suffix("").as_posix(): path for path in FILES if path.exists()}


def imports(source):
    """Full names of the modules that a file imports, anywhere in it; imports for type checkers are none."""
    found = set()

    def visit(node):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here"
            plain = node.module in ("dsta", "eval", "leaderboard")
            found.update(f"{node.module}.{alias.name}" for alias in node.names) if plain else found.add(node.module)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))
    return found


def own(names):
    """Of full module names, our rooms as the table writes them."""
    ours = {name.removeprefix("dsta.") for name in names if name.startswith(("dsta.", "eval."))}
    return ours | {"leaderboard" for name in names if name.startswith("leaderboard.")}


def forbidden(room, source):
    """What a room imports and may not."""
    names = imports(source)
    allowed = set(MAY_IMPORT[room].split()) if room in MAY_IMPORT else EVAL if room.startswith("eval/") else None
    assert allowed is not None, f"{room} has no row in MAY_IMPORT"
    libraries = {name.split(".")[0] for name in names}
    wrong = {lib for lib, rooms in LIBRARIES.items() if lib in libraries and room not in rooms}
    if room.startswith("eval/"):
        wrong -= {"torch"}
    return own(names) - allowed - {"errors", "files"} | wrong


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_only_what_it_may(room):
    assert forbidden(room, ROOMS[room].read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("room", "source", "found"),
    [
        ("dsta/model", "def f():\n    from dsta.streams import fuse", {"streams"}),
        ("dsta/model", "from dsta import errors, train", {"train"}),
        ("dsta/streams", "import torch.nn", {"torch"}),
        ("dsta/recognize", "import av", {"av"}),
        ("eval/crossval", "import dsta.recognize, torch", {"recognize"}),
        ("dsta/train", "from eval.crossval import run", {"eval.crossval"}),
        ("leaderboard/table", "import torch\nfrom eval.results import read", {"torch"}),
        ("dsta/draw", "if TYPE_CHECKING:\n    from dsta.pose import extract", set()),
    ],
)
def test_the_rule_itself_finds_what_is_wrong(room, source, found):
    assert forbidden(room, source) == found


def test_there_are_no_cycles():
    graph = {
        room.removeprefix("dsta/").replace("eval/", "eval."): own(imports(path.read_text()))
        for room, path in ROOMS.items()
    }
    done, open_ = set(), []

    def visit(room):
        assert room not in open_, f"cycle: {' -> '.join([*open_, room])}"
        open_.append(room)
        for other in graph.get(room, set()) - done:
            visit(other)
        done.add(open_.pop())

    for room in graph:
        visit(room)


@pytest.mark.parametrize("module", ["dsta.train", "dsta.data", "eval.crossval", "dsta.recognize"])
def test_training_and_evaluation_need_no_page_no_video_no_pose(module):
    code = f"""
import sys
for name in ("gradio", "mediapipe", "av"):
    sys.modules[name] = None  # importing it raises ImportError
import {module}
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
