"""A GPU that is lent where the package `spaces` is installed, and only there."""

import importlib
import importlib.util
import sys
from types import SimpleNamespace

import pytest
from helpers.clips import signer

from dsta.keypoints import Pose
from dsta.page import lent, vocabularies
from dsta.recognize import Recognizer

POSE = Pose(signer(), 15, 512, 512, "mediapipe-holistic")


@pytest.fixture
def spaces(monkeypatch):
    """A stand-in for `spaces` -> what its decorator was asked for, and each call of what it decorated."""
    seen = []

    def lend(duration):
        def decorate(function):
            def called(*given):
                seen.append("called")
                return function(*given)

            seen.append(duration)
            return called

        return decorate

    there = SimpleNamespace(GPU=lend, __spec__=importlib.util.spec_from_loader("spaces", None))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "spaces", there)
        module = importlib.reload(lent)
        patch.setattr(vocabularies, "KIND", module.LentRecognizer if module.LENT else Recognizer)
        yield seen
    importlib.reload(lent)


def recognised(folder):
    recognizer = vocabularies.Vocabulary(folder, "", "tiny").recognizer()
    return type(recognizer), recognizer.recognize(POSE)


def test_the_networks_run_where_a_gpu_is_lent(spaces, write):
    kind, answer = recognised(write("tiny"))
    assert spaces == [10, "called"] and kind.__name__ == "LentRecognizer"
    assert answer.predictions == Recognizer.load(write("tiny")).recognize(POSE).predictions


def test_elsewhere_nothing_is_asked_for(write):
    if importlib.util.find_spec("spaces") is not None:
        pytest.skip("spaces is installed here")
    assert not lent.LENT and recognised(write("tiny"))[0] is Recognizer
