"""What the first answer does not need is not imported for it, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

from helpers.clips import signer

from dsta.keypoints import Pose

ROOT = Path(__file__).resolve().parents[1]
UNNEEDED = ("torch._dynamo", "torch._inductor", "pandas", "sklearn", "scipy", "huggingface_hub", "mediapipe", "gradio",
            "PIL", "matplotlib", "onnx")  # fmt: skip
"""Torch's compiler; libraries of training, evaluation, the Hub and the page. A skeleton file needs no video either."""
OF_VIDEOS = ("av", "cv2", "ai_edge_litert")
ASK = """
import gc, json, sys
from dsta.recognize.__main__ import main
code = main(sys.argv[1:])
print(json.dumps({"code": code, "modules": sorted(sys.modules), "left_alone": gc.get_freeze_count()}))
"""


def test_a_recognised_clip_has_imported_nothing_that_it_does_not_need(tmp_path):
    Pose(signer(), 15, 512, 512, "mediapipe-holistic").save(tmp_path / "sign.npz")
    command = [sys.executable, "-c", ASK, str(tmp_path / "sign.npz"), "--json"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    answer, process = map(json.loads, lines)
    assert answer["predictions"] and process["code"] == 0
    assert not {*UNNEEDED, *OF_VIDEOS} & {*process["modules"]}
    assert "torch" in process["modules"]  # else the names would be of no use
    assert process["left_alone"] > 100_000  # objects of torch, which `lasting` keeps from the garbage collector


def test_nor_has_a_process_that_is_ready_to_read_a_video():
    """The page's process that looks for joints, which has no network either."""
    ask = "import json, sys, dsta.page.find; print(json.dumps(sorted(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    modules = {*json.loads(said)}
    assert not ({*UNNEEDED, "torch"} - {"PIL"}) & modules and {"av", "PIL"} <= modules
