"""Own signs: what they may be called, which clips they take, and their file, ours or not."""

import json
import pickle
import unicodedata

import numpy as np
import pytest
from helpers.clips import signer
from helpers.teaching import ESTIMATOR, own_signs, take
from safetensors.numpy import load, save

from dsta.common import UserError
from dsta.skeleton import LEFT_HAND, RIGHT_HAND
from dsta.teach import OwnSigns


def written(tmp_path, about=None, name="my.signs", **tensors):
    """A file of two signs with three clips, some of its parts changed; None leaves one out."""
    parts = load(own_signs(tea=2, milk=1).to_bytes())
    said = json.loads(parts["about"].tobytes()) | (about or {})
    parts["about"] = np.frombuffer(json.dumps(said).encode(), np.uint8)
    parts = {key: value for key, value in (parts | tensors).items() if value is not None}
    (tmp_path / name).write_bytes(save(parts))
    return tmp_path / name


def test_a_file_gives_back_names_and_clips_and_holds_nothing_else(tmp_path):
    signs = own_signs(**{"Grüß Gott": 2, "<b>tea</b>": 1})
    signs.save(tmp_path / "my.signs")
    again = OwnSigns.load(tmp_path / "my.signs")
    assert again.names == ("Grüß Gott", "<b>tea</b>") and (len(again), again.count) == (2, 3)
    for ours, theirs in zip(signs.every_clip, again.every_clip, strict=True):
        assert (ours == theirs).all() and theirs.dtype == np.float32
    assert np.abs(again.every_clip[0] - take(0, 0)).max() <= 0.125  # half precision below 512 pixels
    assert set(load((tmp_path / "my.signs").read_bytes())) == {"about", "joints", "frames", "sign"}
    assert OwnSigns(ESTIMATOR).to_bytes() and len(OwnSigns(ESTIMATOR)) == 0


def test_names_that_people_write_differently_are_one_sign():
    signs = own_signs(café=1)
    for seed, name in enumerate((unicodedata.normalize("NFD", "café"), "  Café ", "CAFÉ", "ca\u0000fé"), 1):
        signs = signs.with_clip(name, take(0, seed))
    assert signs.names == ("café",) and signs.count == 5
    assert signs.with_clip("two  words", take(1)).names[-1] == "two words"
    assert signs.without("café").names == () and signs.without("tea") == signs.without("tea")


@pytest.mark.parametrize("name", ["", "  ", "\u200b", "\u200d", "x" * 61])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(UserError, match=r"no name|too long"):
        OwnSigns(ESTIMATOR).with_clip(name, take(0))


def changed(**parts):
    clip = take(0).copy()
    for at, value in parts.values():
        clip[at] = value
    return clip


HANDS = (slice(None), LEFT_HAND + RIGHT_HAND)


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (changed(hands=(HANDS, 0)), "No hand was seen"),
        (signer(601), "601 frames"),
        (changed(one=((0, 0, 0), np.nan)), "27 joints"),
        (np.zeros((0, 27, 3), np.float32), "27 joints"),
        (np.zeros((5, 27, 3), np.float32), "shows nobody"),
        (changed(score=((..., 2), 2.0)), "scores outside"),
        (take(0) / 512, "holds no pixels"),
    ],
)
def test_a_clip_that_shows_no_sign_is_refused_in_a_sentence(clip, words):
    with pytest.raises(UserError, match=words):
        OwnSigns(ESTIMATOR).with_clip("tea", clip)


def test_there_are_at_most_ten_clips_of_a_sign_and_two_hundred_signs():
    with pytest.raises(UserError, match="10 clips"):
        own_signs(tea=10).with_clip("Tea", take(0, 10))
    many = OwnSigns(ESTIMATOR, {str(i): (take(0),) for i in range(200)})
    assert many.with_clip("7", take(1)).count == 201
    with pytest.raises(UserError, match="200 signs are the most"):
        many.with_clip("one more", take(1))
    with pytest.raises(UserError, match="too long"):
        OwnSigns(ESTIMATOR, {str(i): (np.zeros((600, 27, 3)),) for i in range(167)}).with_clip("tea", take(0))


@pytest.mark.parametrize(
    ("about", "tensors", "words"),
    [
        ({"format": "dsta signs 9"}, {}, "no file of signs"),
        ({"names": "tea"}, {}, "fit each other"),
        ({"names": ["tea", 5]}, {}, "no file of signs"),
        ({"names": [str(i) for i in range(10_000)]}, {}, "10000 signs; 200 are the most"),
        ({"names": ["tea", ""]}, {}, "no name"),
        ({"estimator": None}, {}, "no file of signs"),
        ({}, {"joints": None}, "no file of signs"),
        ({}, {"joints": np.zeros((42, 27, 3), np.float32)}, "no file of signs"),
        ({}, {"joints": np.zeros((42, 26, 3), np.float16)}, "no file of signs"),
        ({}, {"joints": np.zeros((42, 27, 3), np.float16)}, "shows nobody"),
        ({}, {"joints": np.full((42, 27, 3), np.nan, np.float16)}, "27 joints"),
        ({}, {"frames": np.array([14, 14, 15], np.int32)}, "fit each other"),
        ({}, {"frames": np.array([28, 28, -14], np.int32)}, "fit each other"),
        ({}, {"sign": np.array([0, 0, 7], np.int32)}, "fit each other"),
        ({}, {"sign": np.array([0, 0, 0], np.int32)}, "fit each other"),
        ({}, {"sign": np.array([[0, 0, 1]], np.int32)}, "no file of signs"),
    ],
)
def test_a_file_that_is_not_ours_or_was_changed_is_refused_in_a_sentence(tmp_path, about, tensors, words):
    with pytest.raises(UserError, match=words):
        OwnSigns.load(written(tmp_path, about, **tensors))


def test_a_file_is_data_and_never_code(tmp_path):
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return type(ran).touch, (ran,)

    for content in (pickle.dumps(Trap()), b"", b"\xff" * 100, b"\x00" * 8, (2**60).to_bytes(8, "little") + b"{}"):
        (tmp_path / "my.signs").write_bytes(content)
        with pytest.raises(UserError, match="no file of signs"):
            OwnSigns.load(tmp_path / "my.signs")
    assert not ran.exists()
    with (tmp_path / "my.signs").open("wb") as file:
        file.truncate(2**25 + 1)
    with pytest.raises(UserError, match="32 MB, more than"):
        OwnSigns.load(tmp_path / "my.signs")
    with pytest.raises(UserError, match="cannot be read"):
        OwnSigns.load(tmp_path / "none.signs")


def test_two_names_in_a_file_that_are_one_sign_are_joined(tmp_path):
    assert OwnSigns.load(written(tmp_path, {"names": ["Tea", "tea"]})).names == ("Tea",)


def test_signs_are_joined_with_others_of_the_same_estimator():
    """A clip that is there already counts once."""
    joined = own_signs(tea=2).joined(own_signs(Tea=3, milk=1))
    assert {name: len(own) for name, own in joined.clips.items()} == {"tea": 3, "milk": 1}
    with pytest.raises(UserError, match="joints are from openpose"):
        joined.joined(OwnSigns("openpose", own_signs(tea=1).clips))
