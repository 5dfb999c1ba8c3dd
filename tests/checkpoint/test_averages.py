"""The file of average skeletons."""

import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from dsta.checkpoint import AVERAGES_FILE, SignAverages
from dsta.common import UserError

GLOSSES = ("book", "drink")


@pytest.fixture
def averages():
    joints = np.random.default_rng(0).uniform(0, 1, (2, 8, 27, 3)).astype(np.float32) * [512, 512, 1]
    return SignAverages(joints.astype(np.float32), np.array([5, 0]))


def test_it_comes_back_in_half_precision(averages, tmp_path):
    assert SignAverages.load(tmp_path, GLOSSES) is None
    averages.save(tmp_path, GLOSSES)
    again = SignAverages.load(tmp_path, GLOSSES)
    assert again.signers.tolist() == [5, 0] and again.joints.dtype == np.float32
    assert np.abs(again.joints - averages.joints)[..., :2].max() < 0.26  # of float16 near 512
    assert np.abs(again.joints - averages.joints)[..., 2].max() < 0.003


@pytest.mark.parametrize("fault", ["other glosses", "no glosses", "half a file", "NaN", "too few", "too large"])
def test_another_file_is_one_sentence(averages, tmp_path, fault):
    averages.save(tmp_path, ("book", "eat") if fault == "other glosses" else GLOSSES)
    path = tmp_path / AVERAGES_FILE
    tensors, content = load(path.read_bytes()), path.read_bytes()
    named = {"glosses": json.dumps(GLOSSES)}
    if fault == "NaN":
        tensors["places"][0, 0, 0, 0] = np.nan
    elif fault == "too few":
        tensors["signers"] = tensors["signers"][:1]
    content = {
        "no glosses": lambda: save(tensors), "half a file": lambda: content[: len(content) // 2],
        "too large": lambda: content + bytes(2**24), "other glosses": lambda: content,
    }.get(fault, lambda: save(tensors, metadata=named))()  # fmt: skip
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"does not hold the averages of the signs .*: restore it"):
        SignAverages.load(tmp_path, GLOSSES)
