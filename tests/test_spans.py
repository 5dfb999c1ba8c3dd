"""Spans of made motions, which are known because they were made so; and the files that hold them."""

import re
import xml.etree.ElementTree as ET
from html import unescape
from itertools import pairwise

import numpy as np
import pytest
from helpers.signing import ARMS, WIDTH, signing

from dsta.common import UserError
from dsta.keypoints import Pose
from dsta.skeleton import INDEX, LEFT_HAND, RIGHT_HAND
from dsta.spans import Span, SpanRule, as_eaf, as_vtt, check_output, find_spans

PARTS = [(0.6, 2.2), (3.0, 4.6), (5.6, 6.8)]
NEAR = 0.15  # seconds: speeds are measured over a tenth before and after


def changed(pose, keypoints):
    return Pose(keypoints, pose.fps, pose.width, pose.height, pose.estimator)


def assert_near(spans, parts):
    assert len(spans) == len(parts)
    assert np.abs(np.array(spans) - np.array(parts)).max() <= NEAR


@pytest.mark.parametrize("fps", [10, 15, 25, 60])
@pytest.mark.parametrize("sides", [("right",), ("left",), ("left", "right")])
def test_rests_separate_signs(fps, sides):
    assert_near(find_spans(signing(PARTS, 8, fps, sides)), PARTS)


@pytest.mark.parametrize(("scale", "move"), [(0.3, 0), (2.0, 0), (1.0, 300), (1.0, -150)])
def test_how_large_the_signer_is_and_where_does_not_matter(scale, move):
    pose = signing(PARTS, 8)
    moved = pose.keypoints * np.float32([scale, scale, 1]) + np.float32([move, move, 0])
    assert find_spans(changed(pose, moved)) == find_spans(pose)


def test_trembling_joints_are_no_movement_at_rest():
    pose, rng = signing(PARTS, 8), np.random.default_rng(0)
    trembling = pose.keypoints.copy()
    trembling[..., :2] += rng.normal(0, 0.01 * WIDTH, trembling[..., :2].shape)
    assert_near(find_spans(changed(pose, trembling)), PARTS)


def test_one_long_rest():
    assert_near(find_spans(signing([(1, 2), (40, 41.5)], 45)), [(1, 2), (40, 41.5)])


@pytest.mark.parametrize(("still", "count"), [(0.5, 1), (1.6, 2)])
def test_a_raised_hand_that_stands_still_for_long_separates(still, count):
    pose = signing([(0.5, 3.5)], 4)
    keypoints, arm = pose.keypoints.copy(), ARMS["right"]
    held = slice(round(1.2 * 15), round((1.2 + still) * 15))
    keypoints[held, arm] = keypoints[held.start, arm]
    spans = find_spans(changed(pose, keypoints))
    assert_near(spans, [(0.5, 3.5)] if count == 1 else [(0.5, 1.2), (1.2 + still, 3.5)])


@pytest.mark.parametrize(("lost", "count"), [(0.2, 1), (0.8, 2)])
def test_hands_that_are_lost_for_a_moment_do_not_separate(lost, count):
    pose = signing([(0.5, 3.5)], 4)
    keypoints = pose.keypoints.copy()
    keypoints[round(1.6 * 15) : round((1.6 + lost) * 15), ARMS["right"]] = 0
    spans = find_spans(changed(pose, keypoints))
    assert_near(spans, [(0.5, 3.5)] if count == 1 else [(0.5, 1.6), (1.6 + lost, 3.5)])


def test_a_hand_that_sinks_and_rises_separates_even_if_it_does_not_rest():
    pose = signing([(0.5, 3.5)], 4)
    keypoints = pose.keypoints.copy()
    times = np.arange(60) / 15
    dip = np.clip(1 - np.abs(times - 2.0) / 0.3, 0, 1) * 0.5 * WIDTH  # half a shoulder width, at 2 s
    keypoints[:, ARMS["right"], 1] += dip[:, None]
    assert_near(find_spans(changed(pose, keypoints)), [(0.5, 2.0), (2.0, 3.5)])
    keypoints[:, ARMS["right"], 1] -= 0.7 * dip[:, None]
    assert_near(find_spans(changed(pose, keypoints)), [(0.5, 3.5)])


def test_too_long_a_span_is_cut_at_its_quietest_place():
    pose = signing([(0.5, 6.5)], 7)
    keypoints = pose.keypoints.copy()
    held = slice(round(3.4 * 15), round(3.9 * 15))  # shorter than a pause
    keypoints[held, ARMS["right"]] = keypoints[held.start, ARMS["right"]]
    first, second = find_spans(changed(pose, keypoints))
    assert first.end == second.start and 3.4 <= first.end <= 3.9
    spans = find_spans(signing([(0.5, 20.5)], 21))
    assert all(1.5 <= end - start <= SpanRule.longest for start, end in spans)  # of an even movement no scraps
    assert all(before.end == after.start for before, after in pairwise(spans))
    assert_near([(spans[0].start, spans[-1].end)], [(0.5, 20.5)])


@pytest.mark.parametrize("fps", [0.1, 0.2, 0.3, 0.45])
@pytest.mark.parametrize("frames", [1, 2, 3, 8])
def test_a_few_frames_a_long_time_apart_are_cut_no_further(fps, frames):
    rng = np.random.default_rng(frames)
    keypoints = np.repeat(signing([], 1).keypoints[:1], frames + 2, 0)
    keypoints[1:-1, ARMS["right"], 1] -= WIDTH  # raised
    keypoints[1:-1, ARMS["right"], 0] += rng.uniform(0, 1e4, (frames, 1))
    spans = find_spans(Pose(keypoints, fps, 512, 512, "mediapipe-holistic"))
    assert bool(spans) == (frames > 1) and all(before.end <= after.start for before, after in pairwise(spans))


def test_too_short_a_movement_is_none():
    assert find_spans(signing([(1.0, 1.2)], 3)) == []


def test_hands_that_rest_or_are_not_there_make_no_span():
    pose = signing(PARTS, 8)
    assert find_spans(signing([], 3)) == []
    keypoints = pose.keypoints.copy()
    keypoints[:, LEFT_HAND + RIGHT_HAND] = 0  # arms alone: nothing to recognise
    assert find_spans(changed(pose, keypoints)) == []
    keypoints[:, [INDEX["left_wrist"], INDEX["right_wrist"]]] = 0
    assert find_spans(changed(pose, keypoints)) == []
    assert find_spans(changed(pose, np.zeros_like(keypoints))) == []


def test_hands_without_wrists_or_shoulders_still_make_spans():
    pose = signing(PARTS, 8)
    keypoints = pose.keypoints.copy()
    keypoints[:, [INDEX["left_wrist"], INDEX["right_wrist"]]] = 0
    assert_near(find_spans(changed(pose, keypoints)), PARTS)
    keypoints[:, [INDEX["left_shoulder"], INDEX["right_shoulder"]]] = 0
    assert len(find_spans(changed(pose, keypoints))) == 3


@pytest.mark.parametrize("seed", range(5))
def test_of_any_joints_spans_are_in_order_apart_and_of_a_signs_length(seed):
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(0, 512, (300, 27, 3)).astype(np.float32)
    if seed % 2:
        keypoints[..., :2] = 250 + rng.normal(0, 12, (300, 27, 2)).cumsum(0)
    keypoints[..., 2] = rng.uniform(size=(300, 27)) > 0.3 * (seed % 3)
    pose = Pose(keypoints, 15, 512, 512, "mediapipe-holistic")
    spans = find_spans(pose)
    assert all(0 <= start < end <= 20 for start, end in spans)
    assert all(before.end <= after.start for before, after in pairwise(spans))
    assert all(SpanRule.shortest - 1e-3 <= end - start <= SpanRule.longest + 1e-3 for start, end in spans)
    for count in (1, 2, 3):
        find_spans(changed(pose, keypoints[:count]))


# --- files

NASTY = ['<b onclick="x()">a & b</b>', "one\n\ntwo --> three", "na\x00ïve \ud800 🤟", ""]
LABELLED = [(Span(1.5 * i, 1.5 * i + 1.25), gloss) for i, gloss in enumerate(["book", *NASTY])]
PLAIN = ["book", NASTY[0], "one two --> three", "na�ïve � 🤟", "?"]


def test_webvtt_holds_the_spans_and_escapes_glosses():
    text = as_vtt([*LABELLED, (Span(3725.25, 3726.0), "late")])
    text.encode()
    header, *cues = text.rstrip("\n").split("\n\n")
    assert header == "WEBVTT" and len(cues) == 6 and "<" not in text and "onclick" in text
    for cue, (span, _), gloss in zip(cues, LABELLED, PLAIN, strict=False):
        clock, _, said = cue.partition("\n")
        ends = re.fullmatch(r"(\d\d):(\d\d):(\d\d\.\d{3}) --> (\d\d):(\d\d):(\d\d\.\d{3})", clock).groups()
        ends = [int(h) * 3600 + int(m) * 60 + float(s) for h, m, s in (ends[:3], ends[3:])]
        assert ends == pytest.approx(span) and "-->" not in said and "\n" not in said
        assert unescape(said) == gloss
    assert cues[-1] == "01:02:05.250 --> 01:02:06.000\nlate"
    assert as_vtt([]) == "WEBVTT\n"


def test_eaf_has_elans_structure(tmp_path):
    """As the schema EAFv3.0.xsd has it: order of elements, required attributes, references that lead somewhere."""
    document = ET.fromstring(as_eaf(LABELLED, tmp_path / "in & out" / "sign <1>.mp4", tmp_path).encode())
    assert document.tag == "ANNOTATION_DOCUMENT"
    assert {"AUTHOR", "DATE", "FORMAT", "VERSION"} <= set(document.keys()) and document.get("FORMAT") == "3.0"
    assert [part.tag for part in document] == ["HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE"]
    header, order, tier, kind = document
    assert header.get("TIME_UNITS") == "milliseconds" and header[0].tag == "MEDIA_DESCRIPTOR"
    media = header[0]
    assert media.get("MEDIA_URL") == f"file://{tmp_path.resolve()}/in & out/sign <1>.mp4"
    assert (media.get("RELATIVE_MEDIA_URL"), media.get("MIME_TYPE")) == ("./in & out/sign <1>.mp4", "video/mp4")
    slots = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE")) for slot in order}
    assert len(slots) == 10 and list(slots.values()) == sorted(slots.values())
    assert tier.get("TIER_ID") == "gloss" and tier.get("LINGUISTIC_TYPE_REF") == kind.get("LINGUISTIC_TYPE_ID")
    assert kind.get("TIME_ALIGNABLE") == "true"
    found = []
    for annotation in tier:
        (part,) = annotation
        assert (annotation.tag, part.tag, part[0].tag) == ("ANNOTATION", "ALIGNABLE_ANNOTATION", "ANNOTATION_VALUE")
        found.append([slots[part.get(f"TIME_SLOT_REF{end}")] / 1000 for end in (1, 2)] + [part[0].text or ""])
    assert [each[:2] for each in found] == [pytest.approx(span) for span, _ in LABELLED]
    assert [each[2] for each in found] == PLAIN
    assert len({part[0].get("ANNOTATION_ID") for part in tier}) == 5


def test_eaf_of_a_skeleton_names_no_video():
    document = ET.fromstring(as_eaf([]).encode())
    assert document.find("HEADER/MEDIA_DESCRIPTOR") is None
    assert len(document.find("TIME_ORDER")) == len(document.find("TIER")) == 0


@pytest.mark.parametrize(
    ("name", "files", "words"),
    [("a.vtt", 2, "one file at a time"), ("a.mp4", 1, r"end in \.vtt"), ("nowhere/a.vtt", 1, "folder that is there")],
)
def test_names_that_cannot_be_written_are_refused(name, files, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        check_output(name, ".vtt", files)
    check_output("a.vtt", ".vtt", 1)
    check_output(None, ".vtt", 5)


@pytest.mark.parametrize("letters", [300, 245])  # of the second, the name under which it is written first is too long
def test_a_name_that_is_too_long_is_refused(letters, tmp_path):
    with pytest.raises(UserError, match=r"cannot be written \(File name too long\)"):
        check_output(str(tmp_path / f"{'x' * letters}.vtt"), ".vtt", 1)


def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # the tests may run as root, who may write anywhere
    with pytest.raises(UserError, match="that you may write to"):
        check_output(str(tmp_path / "a.vtt"), ".vtt", 1)
