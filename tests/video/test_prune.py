"""A model without some of its outputs computes the others as before."""

import zipfile

import numpy as np
import pytest

from dsta.video.models import BUNDLE, Model
from dsta.video.prune import pruned
from dsta.video.quiet import native_logs


@pytest.mark.slow
def test_what_is_left_computes_the_same():
    with zipfile.ZipFile(BUNDLE) as bundle:
        whole = bundle.read("pose_landmarks_detector.tflite")
    with native_logs.hidden():
        before, after = Model(whole, 0.0, 1.0), Model(pruned(whole, (3, 1)), 0.0, 1.0)
    picture = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    for model in (before, after):
        model.look(picture)
    assert (after.output(0) == before.output(3)).all() and np.ptp(after.output(0)) > 1
    assert (after.output(1) == before.output(1)).all()
    with pytest.raises(IndexError):
        after.output(2)
