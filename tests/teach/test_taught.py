"""A taught ensemble says what prototypes and probe say of the joint embedding, alone and beside the vocabulary."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.teaching import FUSION, VOCABULARY, base_weights, own_signs, take

from dsta.checkpoint import Certainty, Ensemble
from dsta.common import UserError
from dsta.embedding import joint_embedding, prototypes, taught_head
from dsta.recognize import Recognizer
from dsta.score import score_streams
from dsta.streams import fuse
from dsta.teach import Embedder, OwnSigns, save_taught, taught_ensemble
from dsta.teach.taught import FITTED


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return base_weights(tmp_path_factory.mktemp("weights") / "base")


@pytest.fixture(scope="module")
def base(folder):
    return Ensemble.load(folder)


ASKED = [take(sign, 20 + sign) for sign in range(4)]


def fused(ensemble, clips=ASKED):
    return fuse({s: said.logits for s, said in score_streams(ensemble, clips).items()}, ensemble.fusion)


def embedded(base, clips):
    return joint_embedding(score_streams(base, clips), FUSION)


def rows(signs):
    return np.split(np.arange(signs.count), np.cumsum([len(own) for own in signs.clips.values()])[:-1])


@pytest.mark.parametrize("count", [1, 3, 5])
def test_alone_its_fused_logits_are_the_heads_scores(base, count):
    signs = own_signs(tea=count, milk=count, rice=count)
    made = taught_ensemble(base, signs)
    assert made.glosses == ("tea", "milk", "rice") and made.temperature == FITTED[min(count, 5) - 1].temperature
    head = taught_head(embedded(base, signs.every_clip), rows(signs))
    assert fused(made) == pytest.approx(head.scores(embedded(base, ASKED)), rel=1e-4, abs=1e-5)


def test_with_the_vocabulary_both_speak_and_a_sign_of_its_own_gives_way(base):
    signs = own_signs(tea=2, Bee=2)
    made = taught_ensemble(base, signs, with_vocabulary=True)
    assert made.glosses == ("ant", "cat", "tea", "Bee")
    said, theirs = fused(made), fused(base)
    assert said[:, :2] == pytest.approx(theirs[:, [0, 2]], rel=1e-5, abs=1e-5)
    cosines = embedded(base, ASKED) @ prototypes(embedded(base, signs.every_clip), rows(signs)).T
    fitted = FITTED[1]
    as_probable = (cosines - fitted.level) / fitted.temperature  # logits, where the vocabulary's are theirs / 0.8
    assert said[:, 2:] / made.temperature == pytest.approx(as_probable, rel=1e-4, abs=1e-4)
    assert (made.temperature, made.threshold) == (base.temperature, base.threshold)


def test_what_is_familiar_are_the_taught_signs_and_the_vocabulary_where_it_stays(base):
    signs = own_signs(tea=2, Bee=1)
    alike = prototypes(embedded(base, signs.every_clip), rows(signs))
    alone = taught_ensemble(base, signs).familiar
    assert alone.known == pytest.approx(alike) and alone.gloss.tolist() == [0, 1]
    assert alone.threshold == FITTED[1].known and (alone.background == base.familiar.background).all()  # 1.5 clips each
    both = taught_ensemble(base, signs, with_vocabulary=True).familiar
    assert both.gloss.tolist() == [0, 1, 2, 3] and (both.known[:2] == base.familiar.known[[0, 3]]).all()
    assert taught_ensemble(replace(base, familiar=None), signs).familiar is None


@pytest.mark.parametrize("with_vocabulary", [False, True])
def test_what_a_score_of_the_vocabulary_means_is_not_said_of_own_signs(base, with_vocabulary):
    measured = replace(base, certainty=Certainty((0.0,), (0.8,), (100,), (0,)))
    assert taught_ensemble(measured, own_signs(tea=2, milk=2), with_vocabulary).certainty is None


def test_each_clip_is_embedded_once(base, monkeypatch):
    embed, signs = Embedder(base), own_signs(tea=2, milk=1)
    first = embed(signs.every_clip)
    monkeypatch.setattr("dsta.teach.taught.score_streams", lambda ensemble, clips: pytest.fail("embedded again"))
    assert (embed(signs.every_clip[::-1]) == first[::-1]).all()
    assert (embed(signs.without("tea").every_clip) == first[2:]).all()


@pytest.mark.parametrize(
    ("signs", "words"),
    [
        (OwnSigns("openpose", own_signs(a=1, b=1).clips), "from openpose"),
        (own_signs(), "no signs"),
        (own_signs(tea=3), "only one sign"),
    ],
)
def test_what_cannot_be_taught_is_said(base, signs, words):
    with pytest.raises(UserError, match=words):
        taught_ensemble(base, signs)


def test_a_taught_ensemble_is_not_taught_again(base):
    with pytest.raises(UserError, match="taught themselves"):
        taught_ensemble(taught_ensemble(base, own_signs(a=1, b=1)), own_signs(a=1, b=1))


def test_a_folder_stands_by_itself_and_says_the_same(folder, base, tmp_path):
    signs = own_signs(tea=2, milk=2)
    for beside in (False, True):
        made = taught_ensemble(base, signs, with_vocabulary=beside)
        save_taught(tmp_path / "mine", made, signs, {stream: {"licence": "none"} for stream in FUSION}, "base")
        again = Recognizer.load(tmp_path / "mine")
        assert again.glosses == (VOCABULARY if beside else ()) + ("tea", "milk")
        assert (fused(again.ensemble) == fused(made)).all()
        assert again.ensemble.familiar.threshold == pytest.approx(made.familiar.threshold, abs=1e-4)
        assert again.recognize(take(1, 9)).predictions[0].gloss == "milk"
        assert OwnSigns.load(tmp_path / "mine" / "taught.signs").names == ("tea", "milk")
    assert again.ensemble.first.seen.among(_prints(signs))[0].all()  # judged on its own examples, it is refused
    save_taught(tmp_path / "mine", replace(made, familiar=None), signs, {stream: {} for stream in FUSION}, "base")
    assert Ensemble.load(tmp_path / "mine").familiar is None


def _prints(signs):
    from dsta.data.overlap import Fingerprints

    return Fingerprints.of(signs.every_clip)
