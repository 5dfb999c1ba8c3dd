"""From a skeleton to ranked glosses, with an ensemble of random tiny networks."""

import json
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from helpers.benchmarks import network
from helpers.clips import signer
from helpers.scores import logits
from helpers.signing import signing

from dsta.checkpoint import FAMILIAR_FILE, Checkpoint, FamiliarSigns
from dsta.common import UserError
from dsta.embedding import joint_embedding
from dsta.keypoints import Pose
from dsta.recognize import Prediction, Recognizer, SignedSpan, quality_of
from dsta.recognize.__main__ import main
from dsta.score import score_streams
from dsta.skeleton import INDEX, LEFT_HAND, RIGHT_HAND
from dsta.spans import Span, as_vtt, find_spans
from dsta.streams import Recipe, fuse, mirror

GLOSSES = ("book", "drink", "no", "thanks", "yes", "you")
RECIPE = Recipe(window=6, bone="direct", normalise="shoulders", handless="drop")
FUSION = {"joint": 0.5, "bone": 0.3, "joint_motion": 0.2}
TEMPERATURE = 1.7


def save(folder, stream, seed=0, glosses=GLOSSES, estimator="mediapipe-holistic"):
    network(folder, glosses, stream, RECIPE, estimator, seed)


def stream_logits(weights, stream, keypoints):
    """(K,) of one stream's network, the plain way."""
    return logits(Checkpoint.load(weights / stream).model, [on_canvas(keypoints)], stream, RECIPE)[0]


def write_ensemble(folder, **changed):
    values = {"fusion": FUSION, "temperature": TEMPERATURE, "threshold": 0.0, **changed}
    (folder / "ensemble.json").write_text(json.dumps(values))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for seed, stream in enumerate(FUSION):
        save(folder / stream, stream, seed)
    write_ensemble(folder)
    return folder


@pytest.fixture
def weights(made, tmp_path):
    """A copy of them, to be changed."""
    return shutil.copytree(made, tmp_path / "weights")


@pytest.fixture
def keypoints():
    """(30, 27, 3) pixels of a 1280 × 720 picture."""
    rng = np.random.default_rng(0)
    points = rng.uniform(200, 600, (1, 27, 2)) + rng.normal(0, 8, (30, 27, 2)).cumsum(0)
    points[:, INDEX["left_shoulder"]], points[:, INDEX["right_shoulder"]] = (600, 300), (400, 300)
    return np.dstack([points, np.full((30, 27), 0.9)]).astype(np.float32)


def pose_of(keypoints, estimator="mediapipe-holistic", fps=15):
    return Pose(keypoints, fps, 1280, 720, estimator)


def on_canvas(keypoints):
    """1280 × 720 pixels -> the canvas, whose longest side is 512."""
    return (keypoints * [0.4, 0.4, 1]).astype(np.float32)


def softmax(scores):
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def by_gloss(scores):
    return pytest.approx(dict(zip(GLOSSES, scores, strict=True)), abs=1e-4)


def test_predictions_are_the_softmax_of_the_fused_logits_ranked(weights, keypoints):
    result = Recognizer.load(weights).recognize(pose_of(keypoints))
    scores = {s: stream_logits(weights, s, keypoints) for s in FUSION}
    fused = sum(FUSION[s] * scores[s].astype(float) for s in FUSION) / sum(FUSION.values())
    expected = softmax(fused / TEMPERATURE)
    order = sorted(range(6), key=lambda i: -expected[i])
    assert [p.gloss for p in result.predictions] == [GLOSSES[i] for i in order]
    assert [p.score for p in result.predictions] == pytest.approx([expected[i] for i in order], abs=1e-4)
    assert sum(p.score for p in result.predictions) == pytest.approx(1)
    assert max(expected) < 0.99  # else the temperature would not be seen
    assert np.abs(fuse(scores, FUSION) - fused).max() < 1e-4


def test_each_stream_speaks_for_itself(weights, keypoints):
    result = Recognizer.load(weights).recognize(pose_of(keypoints))
    assert set(result.streams) == set(FUSION)
    for stream in FUSION:
        alone = softmax(stream_logits(weights, stream, keypoints) / TEMPERATURE)
        assert {p.gloss: p.score for p in result.streams[stream]} == by_gloss(alone)
        ranked = [p.score for p in result.streams[stream]]
        assert ranked == sorted(ranked, reverse=True)


def test_a_pose_a_file_and_a_clip_give_the_same(weights, keypoints, tmp_path):
    recognizer, pose = Recognizer.load(weights), pose_of(keypoints)
    pose.save(tmp_path / "sign.npz")
    results = [recognizer.recognize(source) for source in (pose, tmp_path / "sign.npz", str(tmp_path / "sign.npz"))]
    results.append(recognizer.recognize(pose.clip()))
    for result in results[1:]:
        assert result.predictions == results[0].predictions
    assert results[0].predictions != recognizer.recognize(mirror(pose.clip())).predictions


def test_of_a_clip_too_what_was_not_seen_does_not_count(weights, keypoints):
    """Its place is of no meaning, whatever the array holds there."""
    recognizer, clip = Recognizer.load(weights), on_canvas(keypoints)
    clip[:, LEFT_HAND, 2] = 0
    hidden = clip.copy()
    hidden[:, LEFT_HAND] = 0
    got, expected = recognizer.recognize(clip), recognizer.recognize(hidden)
    assert got.predictions == expected.predictions and (got.seen == expected.seen).all()


def test_quality_progress_and_what_was_seen(weights, keypoints):
    keypoints[:6, LEFT_HAND + RIGHT_HAND] = 0
    keypoints[6:15, LEFT_HAND] = 0
    steps = []
    result = Recognizer.load(weights).recognize(pose_of(keypoints), progress=lambda *told: steps.append(told))
    quality = result.quality
    assert (quality["frames"], quality["seconds"]) == (30, 2.0)
    assert (quality["body"], quality["left_hand"], quality["right_hand"]) == pytest.approx((1, 0.5, 0.8))
    assert quality["confident"] is True and quality["notes"] == []
    assert result.seen.shape == (6, 27, 3)
    assert np.abs(result.seen[[0, -1]] - on_canvas(keypoints)[[6, 29]]).max() < 1e-3
    assert all(seconds >= 0 for seconds in result.timings.values())
    assert steps and steps[-1][1] == 1.0 and all(0 <= share <= 1 for _, share in steps)


@pytest.mark.parametrize(
    ("lost", "fps", "word"),
    [
        ((slice(5, 30), LEFT_HAND + RIGHT_HAND), 15, "17%"),
        ((slice(15), INDEX["left_shoulder"]), 15, "50%"),
        ([], 3, "10 s"),
    ],
)
def test_poor_clips_are_answered_with_a_note(weights, keypoints, lost, fps, word):
    keypoints[lost] = 0
    quality = Recognizer.load(weights).recognize(pose_of(keypoints, fps=fps)).quality
    assert quality["confident"] is False and len(quality["notes"]) == (2 if fps < 5 else 1)
    assert word in quality["notes"][-1]


@pytest.mark.parametrize(
    ("frames", "fps", "words"),
    [
        (1, 15, "There is only 1 frame: film"),
        (2, 1, "There are only 2 frames, 1 a second"),
        (4, 15, "only 4 frames"),
        (30, 15, ""),
    ],
)
def test_little_evidence_is_said(weights, keypoints, frames, fps, words):
    notes = Recognizer.load(weights).recognize(pose_of(keypoints[:frames], fps=fps)).quality["notes"]
    assert len(notes) == bool(words) and words in "".join(notes)


STILL = "The hands do not move: film the whole sign."


@pytest.mark.parametrize("scale", [0.3, 1.0])
@pytest.mark.parametrize(("moved", "still"), [(0, True), (2.2, True), (4.7, False)])
def test_hands_that_do_not_move_are_said(weights, scale, moved, still):
    """By 2.2 hundredths of a shoulder width, as in a still picture, or by 4.7, as in the calmest sign of WLASL100."""
    clip = np.repeat(signer(1), 30, 0)
    clip[10:20, RIGHT_HAND[5], 0] += moved
    clip[5, LEFT_HAND] = 0  # to be lost is no movement
    quality = Recognizer.load(weights).recognize(clip * np.float32([scale, scale, 1])).quality
    assert quality["notes"] == [STILL] * still and quality["confident"] is not still


def test_whether_hands_move_is_said_only_where_it_can_be_told():
    """Not of one frame, nor of hands that were each seen once; of frozen ones also without shoulders."""
    frozen = np.repeat(signer(1), 30, 0)
    alone = frozen.copy()
    alone[1:, LEFT_HAND], alone[:-1, RIGHT_HAND] = 0, 0
    for clip in (frozen[:1], alone):
        assert STILL not in quality_of(clip, 15, "a.mp4")["notes"]
    for clip, said in ((frozen, True), (signer(30), False)):
        clip[:, INDEX["left_shoulder"]] = 0
        assert (STILL in quality_of(clip, 15, "a.mp4")["notes"]) is said
        clip[:, INDEX["left_shoulder"]] = clip[:, INDEX["right_shoulder"]]  # no width
        assert (STILL in quality_of(clip, 15, "a.mp4")["notes"]) is said


def test_exchanged_hands_are_said(weights):
    for exchanged in (False, True):
        notes = Recognizer.load(weights).recognize(signer(exchanged=exchanged)).quality["notes"]
        assert len(notes) == exchanged and ("other one's wrist" in "".join(notes)) == exchanged


@pytest.mark.parametrize(
    ("scale", "words"),
    [((1 / 1280, 1 / 720, 1), "sign.npz holds no pixels of a 1280×720"), ((0, 0, 0), "sign.npz shows nobody")],
)
def test_joints_that_cannot_be_a_persons_are_refused(weights, keypoints, tmp_path, scale, words):
    pose_of(keypoints * np.float32(scale)).save(tmp_path / "sign.npz")
    with pytest.raises(UserError, match=words):
        Recognizer.load(weights).recognize(tmp_path / "sign.npz")


@pytest.mark.parametrize(("margin", "confident"), [(-0.01, True), (0.01, False)])
def test_below_the_threshold_it_is_not_sure(weights, keypoints, margin, confident):
    best = Recognizer.load(weights).recognize(pose_of(keypoints)).predictions[0].score
    write_ensemble(weights, threshold=best + margin)
    quality = Recognizer.load(weights).recognize(pose_of(keypoints)).quality
    assert quality["confident"] is confident and len(quality["notes"]) == (0 if confident else 1)


def test_how_often_an_answer_as_sure_was_right_is_said_where_it_is_known(weights, keypoints, tmp_path, capsys):
    pose, file = pose_of(keypoints), tmp_path / "sign.npz"
    pose.save(file)
    assert Recognizer.load(weights).recognize(pose).quality["certainty"] is None
    step = {"right": 0.8, "clips": 70, "known_people": 0}
    write_ensemble(weights, certainty={"steps": [{"from": 0.0} | step]})
    said = Recognizer.load(weights).recognize(pose).quality["certainty"]
    assert (said["right"], said["clips"]) == (0.8, 70) and said["meaning"].startswith(
        "Of 100 answers this sure, about 80"
    )
    for more in ([], ["--json"]):
        assert main([str(file), "--weights", str(weights), *more]) == 0
        assert said["meaning"] in capsys.readouterr().out
    write_ensemble(weights, certainty={"steps": [{"from": 0.999} | step]})
    assert Recognizer.load(weights).recognize(pose).quality["certainty"] is None  # it was never that unsure


@pytest.mark.parametrize("known", [True, False])
def test_a_sign_that_is_not_familiar_is_said_to_be_none_of_those_known(weights, keypoints, known):
    recognizer = Recognizer.load(weights)
    assert recognizer.recognize(pose_of(keypoints)).quality["known_sign"] is None
    own = joint_embedding(score_streams(recognizer.ensemble, [on_canvas(keypoints)]), FUSION)
    means, others = (own, -own) if known else (-own, own)
    every = np.arange(len(GLOSSES))
    FamiliarSigns(np.repeat(means, len(every), 0), every, others, 0.5, 0.0).save(weights)
    steps = {"steps": [{"from": 0.0, "right": 0.8, "clips": 70, "known_people": 0}]}
    write_ensemble(weights, familiarity={"weight": 0.5, "threshold": 0.0}, certainty=steps)
    quality = Recognizer.load(weights).recognize(pose_of(keypoints)).quality
    assert quality["known_sign"] is known and quality["confident"] is known
    assert quality["notes"] == ([] if known else [f"This is probably none of the {len(GLOSSES)} known signs."])
    assert (quality["certainty"] is not None) is known  # it was measured on known signs


@pytest.mark.parametrize("fault", ["half a file", "a gloss without a mean", "no threshold", "other sizes", "NaN"])
def test_means_that_do_not_fit_are_one_sentence(weights, fault):
    glosses, sizes = np.arange(len(GLOSSES)), (len(GLOSSES), 5)
    known, background = np.ones(sizes), np.ones((2, 4 if fault == "other sizes" else 5))
    known[0, 0] = np.nan if fault == "NaN" else 1
    FamiliarSigns(known, glosses * (fault != "a gloss without a mean"), background, 0.5, 0.0).save(weights)
    write_ensemble(weights, familiarity={"weight": 0.5} | ({} if fault == "no threshold" else {"threshold": 0.1}))
    if fault == "half a file":
        (weights / FAMILIAR_FILE).write_bytes((weights / FAMILIAR_FILE).read_bytes()[:100])
    with pytest.raises(UserError, match=f"{FAMILIAR_FILE}.*restore it"):
        Recognizer.load(weights)


def test_a_clip_without_hands_and_joints_of_another_estimator_are_refused(weights, keypoints):
    recognizer = Recognizer.load(weights)
    with pytest.raises(UserError, match=r"hrnet-wholebody.*mediapipe-holistic"):
        recognizer.recognize(pose_of(keypoints, "hrnet-wholebody"))
    keypoints[1:, LEFT_HAND + RIGHT_HAND] = 0
    with pytest.raises(UserError, match="only 1 of 30 frames"):
        recognizer.recognize(pose_of(keypoints))
    keypoints[:, LEFT_HAND + RIGHT_HAND] = 0
    for frames in (30, 1):
        with pytest.raises(UserError, match="No hand"):
            recognizer.recognize(pose_of(keypoints[:frames]))


def test_a_folder_of_one_stream_works_alone(weights, keypoints):
    result = Recognizer.load(weights / "bone").recognize(pose_of(keypoints))
    alone = softmax(stream_logits(weights, "bone", keypoints))
    assert {p.gloss: p.score for p in result.predictions} == by_gloss(alone)
    assert list(result.streams) == ["bone"] and result.streams["bone"] == result.predictions


# --- ensembles that cannot be used


@pytest.mark.parametrize(
    "changed",
    [
        {"fusion": {"joint": 1.0, "bones": 1.0}},
        {"fusion": {}},
        {"fusion": {"joint": 0.0}},
        {"fusion": ["joint"]},
        {"temperature": None},
        {"temperature": 0},
        {"threshold": "high"},
        {"fusion": {"joint": 1.0, "bone_motion": 1.0}},
    ],
    ids=str,
)
def test_a_damaged_ensemble_is_a_users_error(weights, keypoints, changed):
    write_ensemble(weights, **changed)
    with pytest.raises(UserError):
        Recognizer.load(weights).recognize(pose_of(keypoints))


@pytest.mark.parametrize(
    ("stream", "changed", "words"),
    [
        ("bone", {"glosses": GLOSSES[::-1]}, "not of one ensemble"),
        ("bone", {"estimator": "hrnet-wholebody"}, "not of one ensemble"),
        ("bone_motion", {}, "names other streams"),
    ],
)
def test_networks_of_another_ensemble_or_stream_are_refused(weights, stream, changed, words):
    save(weights / "bone", stream, **changed)
    with pytest.raises(UserError, match=words):
        Recognizer.load(weights)


def test_streams_that_were_trained_but_not_fitted_count_alike(weights, keypoints):
    (weights / "ensemble.json").unlink()
    got = Recognizer.load(weights)
    of = got.ensemble
    assert (of.fusion, of.temperature, of.threshold) == (dict.fromkeys(FUSION, 1.0), 1.0, 0.0)
    write_ensemble(weights, fusion=dict.fromkeys(FUSION, 0.25), temperature=1.0)
    clip = on_canvas(keypoints)
    assert got.recognize(clip).predictions == Recognizer.load(weights).recognize(clip).predictions


def test_a_folder_with_nothing_in_it_is_a_users_error(weights, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"ensemble\.json"):
        Recognizer.load(tmp_path / "empty")
    with pytest.raises(UserError, match="nowhere"):
        Recognizer.load(weights / "nowhere")
    with pytest.raises(UserError, match=r"cannot be read \(File name too long\)"):
        Recognizer.load(weights / ("x" * 300))


# --- the command line


def test_json_is_one_line_per_good_file_and_one_sentence_per_bad_one(weights, keypoints, tmp_path, capsys):
    good, other, empty, lost = (tmp_path / f"{name}.npz" for name in ("good", "other", "empty", "lost"))
    pose_of(keypoints).save(good)
    pose_of(keypoints[::-1]).save(other)
    empty.write_bytes(b"")
    files = [str(path) for path in (empty, good, lost, other)]
    assert main([*files, "--weights", str(weights), "--json", "--top-k", "2"]) == 2
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["file"] for line in lines] == [str(good), str(other)]
    assert len(err.splitlines()) == 2 and "empty.npz" in err and "lost.npz" in err
    for line, source in zip(lines, (keypoints, keypoints[::-1]), strict=True):
        expected = Recognizer.load(weights).recognize(pose_of(source))
        assert set(line) == {"file", "predictions", "streams", "quality", "timings"}
        for said, found in zip(line["predictions"], expected.predictions[:2], strict=True):
            assert said == {"gloss": found.gloss, "score": pytest.approx(found.score, abs=1e-6)}
        assert {name: len(rows) for name, rows in line["streams"].items()} == dict.fromkeys(FUSION, 2)
        assert line["quality"]["confident"] is True


def test_all_good_is_code_0_and_silent_on_stderr(weights, keypoints, tmp_path, capsys):
    pose_of(keypoints).save(tmp_path / "good.npz")
    assert main([str(tmp_path / "good.npz"), "--weights", str(weights)]) == 0
    out, err = capsys.readouterr()
    best = Recognizer.load(weights).recognize(pose_of(keypoints)).predictions
    assert err == "" and best[0].gloss in out and f"{best[0].score:.1%}" in out
    assert [line.split()[1] for line in out.splitlines()[1:6]] == [p.gloss for p in best[:5]]


def test_missing_weights_are_code_2(tmp_path, capsys):
    assert main([str(tmp_path / "x.npz"), "--weights", str(tmp_path / "nowhere"), "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1


def test_top_k_must_be_positive(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["x.npz", "--top-k", "0"])
    assert stopped.value.code == 2


# --- several signs in one video


PARTS = [(0.6, 2.2), (3.0, 4.6), (5.6, 6.8)]


def cut(pose, span):
    start, end = (round(seconds * pose.fps) for seconds in span)
    return Pose(pose.keypoints[start:end], pose.fps, pose.width, pose.height, pose.estimator)


def test_each_span_is_recognised_as_a_clip_of_its_own_and_the_joints_are_looked_for_once(weights, tmp_path):
    recognizer, pose, asked, steps = Recognizer.load(weights), signing(PARTS, 8), [], []

    def find(path):
        asked.append(path)
        return pose

    said = recognizer.recognize_spans("signs.mp4", lambda *told: steps.append(told), find)
    assert len(asked) == 1 and [each.span for each in said] == find_spans(pose) and len(said) == 3
    for each in said:
        alone = recognizer.recognize(cut(pose, each.span))
        assert each.recognition.predictions == alone.predictions
        assert each.recognition.quality == alone.quality
    assert steps[-1][1] == 1.0


@pytest.mark.parametrize("spoilt", [(1,), (0, 1, 2)], ids=str)
def test_a_span_that_is_refused_is_left_out_and_told_where_it_leaves_none(weights, monkeypatch, spoilt):
    recognizer, pose = Recognizer.load(weights), signing(PARTS, 8)
    spans, keypoints = find_spans(pose), pose.keypoints.copy()
    for number in spoilt:  # joints that are no person's
        start, end = (round(seconds * 15) for seconds in spans[number])
        keypoints[start:end, :, :2] /= 100
    spoilt_pose = Pose(keypoints, 15, 512, 512, pose.estimator)
    monkeypatch.setattr("dsta.recognize.recognizer.find_spans", lambda pose: spans)
    if len(spoilt) < 3:
        assert [each.span for each in recognizer.recognize_spans(spoilt_pose)] == [spans[0], spans[2]]
        return
    with pytest.raises(UserError, match="this clip holds no pixels"):
        recognizer.recognize_spans(spoilt_pose)


@pytest.mark.parametrize(
    ("quality", "gloss"), [({}, "book"), ({"confident": False}, "book?"), ({"known_sign": False}, "?")]
)
def test_a_spans_gloss_says_whether_it_is_sure(weights, quality, gloss):
    result = Recognizer.load(weights).recognize(signing(PARTS[:1], 3))
    sure = result.quality | {"confident": not quality, "known_sign": None} | quality
    said = SignedSpan(Span(0.0, 1.0), replace(result, predictions=(Prediction("book", 0.9),), quality=sure))
    assert said.gloss == gloss


def test_spans_on_the_command_line_as_a_table_as_json_and_as_files(weights, tmp_path, capsys):
    pose, file = signing(PARTS, 8), tmp_path / "signs.npz"
    pose.save(file)
    expected = Recognizer.load(weights).recognize_spans(pose)
    assert main([str(file), "--weights", str(weights), "--spans"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(file) and len(lines) == 4
    for line, each in zip(lines[1:], expected, strict=True):
        assert f"{each.span.start:.2f}" in line and each.recognition.predictions[0].gloss in line
    vtt, eaf = tmp_path / "signs.vtt", tmp_path / "signs.eaf"
    assert main([str(file), "--weights", str(weights), "--json", "--vtt", str(vtt), "--eaf", str(eaf)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said) == {"file", "spans"} and said["file"] == str(file)
    for found, each in zip(said["spans"], expected, strict=True):
        assert set(found) == {"start", "end", "predictions", "streams", "quality", "timings"}
        assert (found["start"], found["end"]) == each.span
        assert found["predictions"][0]["gloss"] == each.recognition.predictions[0].gloss
    assert vtt.read_text(encoding="utf-8") == as_vtt((each.span, each.gloss) for each in expected)
    assert len(ET.parse(eaf).findall("TIER/ANNOTATION")) == 3
    assert sorted(path.name for path in tmp_path.glob("signs*")) == ["signs.eaf", "signs.npz", "signs.vtt"]


def test_a_gloss_that_is_html_is_escaped_in_both_files(tmp_path, capsys):
    glosses = ('<img src=x onerror="a&b">', "<i>no</i>")
    for stream in FUSION:
        save(tmp_path / "weights" / stream, stream, glosses=glosses)
    write_ensemble(tmp_path / "weights")
    signing(PARTS, 8).save(tmp_path / "signs.npz")
    vtt, eaf = tmp_path / "signs.vtt", tmp_path / "signs.eaf"
    ask = [str(tmp_path / "signs.npz"), "--weights", str(tmp_path / "weights")]
    assert main([*ask, "--vtt", str(vtt), "--eaf", str(eaf)]) == 0
    values = [value.text for value in ET.parse(eaf).iter("ANNOTATION_VALUE")]
    assert len(values) == 3 and set(values) <= set(glosses)
    said = vtt.read_text(encoding="utf-8")
    assert "<" not in said and [unescape(line) for line in said.splitlines() if "&" in line] == values


def test_spans_of_what_cannot_be_used_are_one_sentence(weights, tmp_path, capsys):
    pose = signing(PARTS, 8)
    nobody = pose.keypoints.copy()
    nobody[:, LEFT_HAND + RIGHT_HAND] = 0
    good, handless, resting = (tmp_path / f"{name}.npz" for name in ("good", "handless", "resting"))
    pose.save(good)
    Pose(nobody, 15, 512, 512, pose.estimator).save(handless)
    signing([], 4).save(resting)
    ask = ["--weights", str(weights), "--spans"]
    assert main([str(handless), str(good), str(resting), *ask]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("No hand was seen in handless.npz") and len(err.splitlines()) == 1
    assert str(good) in out and "no sign: the hands rest" in out
    assert main([str(good), str(resting), *ask, "--vtt", str(tmp_path / "a.vtt")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "one file at a time" in err and len(err.splitlines()) == 1
    assert main([str(handless), *ask, "--eaf", str(tmp_path / "a.eaf")]) == 2
    assert not (tmp_path / "a.vtt").exists() and not (tmp_path / "a.eaf").exists()
