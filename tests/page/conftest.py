"""What several tests of the page share."""

import pytest
from helpers.benchmarks import network


@pytest.fixture
def write(tmp_path):
    """A function that writes the weights folder `name`: an ensemble of one tiny stream, and a card."""

    def folder(name, front="", size=2, estimator="mediapipe-holistic", text="# Card"):
        network(tmp_path / name / "joint", [f"sign {i}" for i in range(size)], "joint", estimator=estimator)
        (tmp_path / name / "ensemble.json").write_text('{"fusion": {"joint": 1}, "temperature": 1, "threshold": 0}')
        if front:
            (tmp_path / name / "README.md").write_text(f"---\n{front}\n---\n{text}", encoding="utf-8")
        return tmp_path / name

    return folder
