"""The averages of a weights folder, of a data set that the test makes."""

import numpy as np
import pytest
from helpers.benchmarks import network
from helpers.clips import signer

from dsta.checkpoint import SignAverages
from eval import averages


@pytest.fixture
def folders(tmp_path):
    network(tmp_path / "weights" / "mine", ["up", "other"], "joint", estimator="mediapipe-holistic")
    data = tmp_path / "data"
    data.mkdir()
    fractions = signer(20) / np.array([512, 384, 1], np.float32)
    np.savez(data / "clips.npz", **{f"{i}": fractions for i in range(4)})
    lines = [f"{i},{gloss},s{i},0,20" for i, gloss in enumerate(("up", "up", "up", "else"))]
    (data / "index.csv").write_text("\n".join(["clip,gloss,source,fold,frames", *lines]))
    return tmp_path / "weights" / "mine", data


@pytest.mark.parametrize("right", [True, False])
def test_they_are_written_with_the_manifest_unless_taken_for_another_sign(folders, monkeypatch, capsys, right):
    weights, data = folders
    monkeypatch.setattr(averages, "told_apart", lambda found, ensemble: (found.signers > 0) & right)
    if right:
        assert averages.main([str(weights), "--data", str(data)]) == 0
        assert "1 of 2 glosses, each the average of 3 to 3 signers" in capsys.readouterr().out
    else:
        assert averages.main([str(weights), "--data", str(data)]) == 2
        assert "none of them is taken for its gloss" in capsys.readouterr().err
        return
    found = SignAverages.load(weights, ("up", "other"))
    assert found.signers.tolist() == [3, 0] and not found.joints[1].any() and found.joints[0].any()
    assert "averages.safetensors" in (weights.parent / "manifest.json").read_text()


def test_other_data_is_refused_in_a_sentence(folders, capsys):
    weights, data = folders
    text = (data / "index.csv").read_text()
    (data / "index.csv").write_text(text.replace("up", "x"))
    assert averages.main([str(weights), "--data", str(data)]) == 2
    assert "hold no clip of the 2 glosses" in capsys.readouterr().err
