"""The judge of spans: what is a sign's own part, videos joined of single signs, and which spans are right."""

import pytest
from helpers.signing import signing

from dsta.data.prepared import IndexRow, Prepared
from dsta.prepare.write import write_prepared
from dsta.recognize import FRAMES_PER_SECOND
from dsta.skeleton import INDEX
from dsta.spans import Span, find_spans
from eval import spans
from eval.spans import STYLES, made_videos, pairs, sign_part

PART = (0.6, 2.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Nine validation clips of two signers at 25 frames a second, each of 2.6 s with a sign in it."""
    folder = tmp_path_factory.mktemp("prepared")
    clip = signing([PART], 2.6, fps=25).keypoints
    rows = [
        IndexRow(
            f"{i}.mp4", f"sign {i % 4}", "val" if i < 9 else "train", str(i % 2), "", i * len(clip), len(clip), 25.0,
            512, 512, "mediapipe-holistic", 1.0, 1.0, "",
        )
        for i in range(10)
    ]  # fmt: skip
    about = {"dataset": "", "fps": 25.0, "estimator": "mediapipe-holistic", "glosses": [f"sign {i}" for i in range(4)]}
    write_prepared(folder, rows, lambda row: clip, about, [])
    return folder


def test_a_signs_part_is_where_a_wrist_is_half_way_up():
    clip = signing([PART], 2.6, fps=25, down=1.5, up=0.3).keypoints
    assert sign_part(clip) == (15, 50)
    lifted = clip.copy()
    lifted[10, INDEX["left_wrist"], 1] -= 100  # the other one, for a moment before
    assert sign_part(lifted) == (10, 50)
    never_low = signing([PART], 2.6, fps=25, down=0.8, up=0.3).keypoints
    assert sign_part(never_low)[1] - sign_part(never_low)[0] >= 35
    assert sign_part(clip[:10]) == (0, 10)  # nothing moves


@pytest.mark.parametrize("style", STYLES)
def test_each_clip_of_the_split_is_in_one_video_and_its_part_is_where_it_was_put(folder, style):
    videos = list(made_videos(Prepared.read(folder), "val", style))
    assert [len(video.parts) for video in videos] == [4, 4] and all(len(video.glosses) == 4 for video in videos)
    for video in videos:
        for part in video.parts:
            assert part.end - part.start == pytest.approx(PART[1] - PART[0], abs=0.15)
            wrist = video.pose.keypoints[:, INDEX["right_wrist"], 1]
            inside = slice(round(part.start * FRAMES_PER_SECOND) + 1, round(part.end * FRAMES_PER_SECOND) - 1)
            assert wrist[inside].max() < 0.5 * (wrist[inside].mean() + wrist.max()) or style == "close"
        if style == "rests":
            assert len(pairs(find_spans(video.pose), video.parts)) == 4


def test_a_span_is_right_once_and_by_half_of_what_both_cover():
    parts = [Span(0, 2), Span(3, 5)]
    assert pairs([Span(0, 1.1), Span(3.9, 5.9)], parts) == [(0, 0)]  # 1.1 of 2, and 1.1 of 2.9
    assert pairs([Span(0, 1.2), Span(0.5, 2)], parts) == [(1, 0)]
    assert pairs([], parts) == pairs(parts, []) == []


def test_the_command_prints_the_figures_with_their_counts(folder, capsys):
    assert spans.main(["--data", str(folder)]) == 0
    rests, _, single = capsys.readouterr().out.splitlines()
    assert rests == "rests: precision 100.0% of 8 spans; recall 100.0% of 8 signs"
    assert single == "single clips: 0 of 9 cut into several spans, 0 without any"
    assert spans.main(["--data", str(folder), "--split", "train"]) == 2
    assert "1 clips of the split train" in capsys.readouterr().err
