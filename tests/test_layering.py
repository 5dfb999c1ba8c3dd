"""The plan of the house: which room stands on which, which library is known where, and each name in one place."""

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Of each room the rooms that it may import. Everyone may import `common`.
STANDS_ON = {
    "dsta": "",
    "dsta.common": "",
    "dsta.skeleton": "",
    "dsta.metrics": "",
    "dsta.keypoints": "skeleton",
    "dsta.plausible": "skeleton",
    "dsta.streams": "skeleton",
    "dsta.model": "skeleton",
    "dsta.data": "skeleton streams",
    "dsta.checkpoint": "data model skeleton streams",
    "dsta.folded": "model skeleton",
    "dsta.score": "checkpoint data folded model skeleton streams",
    "dsta.video": "keypoints skeleton",
    "dsta.spans": "keypoints skeleton",
    "dsta.recognize": "checkpoint embedding keypoints plausible score skeleton spans streams video",
    "dsta.embedding": "checkpoint score",
    "dsta.reference": "skeleton streams",
    "dsta.teach": "checkpoint data embedding model plausible prepare recognize score skeleton",
    "dsta.prepare": "data keypoints plausible skeleton streams video",
    "dsta.train": "checkpoint data metrics model score skeleton streams",
    "dsta.identify": "checkpoint data metrics model score streams",
    "dsta.export": "checkpoint data score skeleton streams",
    "dsta.page": "checkpoint keypoints recognize reference score skeleton spans streams teach video",
    "dsta.__main__": "checkpoint export identify prepare recognize teach train",
    "eval": "checkpoint data embedding export folded leaderboard metrics model plausible prepare reference score "
    "skeleton spans streams teach train",
    "leaderboard": "data metrics streams",
    "app": "leaderboard page",
}

# Single files that may import more than their room.
STANDS_ON_TOO = {
    "eval.videos": "recognize video",
    "eval.clip_speed": "recognize video",
    "eval.spans": "keypoints recognize spans",
}

# Of each library the only places that may import it.
KNOWN_IN = {
    "av": "dsta.video",
    "ai_edge_litert": "dsta.video",
    "cv2": "dsta.video",
    "mediapipe": "",
    "gradio": "app leaderboard.tab",
    "starlette": "app dsta.page.gate dsta.page.live dsta.page.share dsta.page.signs",
    "huggingface_hub": "dsta.checkpoint.hub",
    "torch": "dsta.common.device dsta.common.loading dsta.model dsta.folded dsta.checkpoint dsta.score dsta.train "
    "dsta.identify dsta.export dsta.teach.taught eval",
    "pandas": "leaderboard",
}

FILES = [ROOT / "app.py", *(path for wing in ("dsta", "eval", "leaderboard") for path in (ROOT / wing).rglob("*.py"))]
MODULES = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path for path in sorted(FILES)}
SOURCES = {name.removesuffix(".__init__"): path.read_text(encoding="utf-8") for name, path in MODULES.items()}


def room_of(module):
    """`dsta.data.read` -> `dsta.data`; outside `dsta` the first name."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "dsta" else parts[0]


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
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(name if name in SOURCES else node.module for name in inner)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))
    return found


def forbidden(module, source):
    """What a module imports and may not: rooms, and libraries."""
    names = imports(source)
    rooms = {room_of(name) for name in names if name.split(".")[0] in ("dsta", "eval", "leaderboard", "app")}
    below = [*STANDS_ON[room_of(module)].split(), *STANDS_ON_TOO.get(module, "").split()]
    allowed = {f"dsta.{name}" for name in below} | {"dsta.common", "leaderboard"}
    allowed -= {"leaderboard"} - set(STANDS_ON[room_of(module)].split())
    places = {library: KNOWN_IN[library].split() for library in KNOWN_IN if library in {n.split(".")[0] for n in names}}
    strange = {lib for lib, known in places.items() if not any(f"{module}.".startswith(f"{p}.") for p in known)}
    return rooms - allowed - {room_of(module)} | strange


@pytest.mark.parametrize("module", SOURCES)
def test_a_room_stands_on_what_the_plan_says(module):
    assert forbidden(module, SOURCES[module]) == set()


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("dsta.model", "def f():\n    from dsta.streams import fuse", {"dsta.streams"}),
        ("dsta.model", "from dsta.common import errors\nimport dsta.train.loop", {"dsta.train"}),
        ("dsta.streams", "import torch.nn", {"torch"}),
        ("dsta.data.read", "import torch", {"torch"}),
        ("dsta.recognize", "import av", {"av"}),
        ("eval.crossval", "import dsta.recognize, torch", {"dsta.recognize"}),
        ("dsta.train.folds", "from eval.crossval import run", {"eval"}),
        ("leaderboard.table", "import torch\nfrom eval.rows import figures", {"torch", "eval"}),
        ("dsta.page.draw", "if TYPE_CHECKING:\n    from dsta.train import fit", set()),
    ],
)
def test_the_rule_itself_finds_what_is_wrong(module, source, found):
    assert forbidden(module, source) == found


def test_the_first_level_has_at_most_twenty_four_rooms():
    """Twenty, and what the plan foresaw: folded, teach, spans and reference."""
    rooms = {room_of(module) for module in SOURCES if module.startswith("dsta.")}
    assert rooms == {room for room in STANDS_ON if room.startswith("dsta.")} and len(rooms) <= 24


@pytest.mark.parametrize("level", ["rooms", "files"])
def test_there_are_no_circles(level):
    """Neither among rooms nor, as a wing's own `__init__` counts as a file, among files."""
    place = room_of if level == "rooms" else str
    graph = defaultdict(set)
    for module, source in SOURCES.items():
        graph[place(module)] |= {place(name) for name in imports(source) if name in SOURCES} - {place(module)}
    done, path = set(), []

    def visit(node):
        assert node not in path, f"circle: {' -> '.join([*path, node])}"
        path.append(node)
        for other in graph[node] - done:
            visit(other)
        done.add(path.pop())

    for node in list(graph):
        visit(node)


def test_other_rooms_import_from_the_wing_what_it_hands_on():
    handed_on = {
        module: {alias.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)
                 for alias in node.names if node.module.startswith(f"{module}.")}
        for module, source in SOURCES.items() if module.count(".") == 1 and MODULES.get(f"{module}.__init__")
    }  # fmt: skip
    inner = [
        f"{module} takes {alias.name} from {node.module}"
        for module, source in SOURCES.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module and room_of(node.module) != room_of(module)
        for alias in node.names
        if node.module not in handed_on and alias.name in handed_on.get(room_of(node.module), ())
    ]
    assert not inner


def test_each_public_name_stands_in_one_file():
    places = defaultdict(list)
    for module, source in SOURCES.items():
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(module)
    assert {name: found for name, found in places.items() if len(found) > 1 and name != "main"} == {}


@pytest.mark.slow
def test_training_and_evaluation_need_no_page_no_video_no_pose_and_load_no_compiler():
    libraries = ("gradio", "ai_edge_litert", "cv2", "av", "huggingface_hub", "torch._dynamo")
    run_without(libraries, "import dsta.train, eval.crossval, eval.run_all, eval.compare, dsta.recognize")


def test_dsta_alone_loads_nothing_heavy():
    run_without(
        ("torch", "gradio", "ai_edge_litert", "cv2", "av", "pandas"),
        "import dsta; from dsta import Pose, Recipe, Stream",
    )


def run_without(libraries, code):
    code = f"import sys\nfor name in {libraries!r}:\n    sys.modules[name] = None  # importing it fails\n{code}"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
