"""What several tests of the page share."""

import pytest
import torch

from dsta.checkpoint import Checkpoint
from dsta.model import DSTA, ModelConfig
from dsta.streams import Recipe, Stream


@pytest.fixture
def write(tmp_path):
    """A function that writes the weights folder `name`: an ensemble of one tiny stream, and a card."""

    def folder(name, front="", size=2, estimator="mediapipe-holistic", text="# Card"):
        torch.manual_seed(0)
        network = DSTA(ModelConfig(size, inner_dim=8, depth=1)).eval()
        glosses = tuple(f"sign {i}" for i in range(size))
        Checkpoint(network, Stream.JOINT, Recipe(window=6), glosses, estimator, {}).save(tmp_path / name / "joint")
        (tmp_path / name / "ensemble.json").write_text('{"fusion": {"joint": 1}, "temperature": 1, "threshold": 0}')
        if front:
            (tmp_path / name / "README.md").write_text(f"---\n{front}\n---\n{text}", encoding="utf-8")
        return tmp_path / name

    return folder
