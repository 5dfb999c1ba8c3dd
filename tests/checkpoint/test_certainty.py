"""What a score means: the steps that `ensemble.json` holds, and the sentence that is made of them."""

import json
import shutil

import pytest

from dsta.checkpoint import DEFAULT_WEIGHTS, Certainty, Ensemble
from dsta.common import UserError

STEPS = [
    {"from": 0.1, "right": 0.25, "clips": 60, "known_people": 0},
    {"from": 0.5, "right": 0.5, "clips": 80, "known_people": 20},
    {"from": 0.9, "right": 0.998, "clips": 1234, "known_people": 700},
]


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (0.1, "about 25 were right, on 60 clips of these signs that it had never seen."),
        (0.49, "about 25 were right"),
        (
            0.5,
            "on 80 clips of these signs that it had never seen; some were by people it may know.",
        ),
        (
            1.0,
            "almost all were right, on 1,234 clips of these signs that it had never seen; most were by people",
        ),
    ],
)
def test_a_score_has_the_sentence_of_its_step(score, words):
    said = Certainty.read({"steps": STEPS}).of(score)
    assert said["meaning"].startswith("Of 100 answers this sure, ") and words in said["meaning"]


def test_of_a_score_lower_than_any_measured_nothing_is_said():
    assert Certainty.read({"steps": STEPS}).of(0.0999) is None


@pytest.mark.parametrize(
    "steps",
    [
        [],
        "all",
        [{"from": 0.0}],
        [STEPS[1], STEPS[0]],
        [STEPS[0], STEPS[0] | {"right": 0.3}],
        [STEPS[1], STEPS[2] | {"right": 0.4}],
        [STEPS[0] | {"right": 1.01}],
        [STEPS[0] | {"clips": 0}],
        [STEPS[0] | {"known_people": 61}],
        [STEPS[0] | {"right": float("nan")}],
    ],
    ids=str,
)
def test_steps_that_cannot_be_are_one_sentence(tmp_path, steps):
    folder = tmp_path / "weights"
    shutil.copytree(DEFAULT_WEIGHTS, folder)
    said = json.loads((folder / "ensemble.json").read_text()) | {"certainty": {"steps": steps}}
    (folder / "ensemble.json").write_text(json.dumps(said))
    with pytest.raises(UserError, match=r"ensemble\.json"):
        Ensemble.load(folder)
    del said["certainty"]
    (folder / "ensemble.json").write_text(json.dumps(said))
    assert Ensemble.load(folder).certainty is None
