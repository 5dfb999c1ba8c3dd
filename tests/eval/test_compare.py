"""Two rows of the table, held against each other."""

import numpy as np
import pytest
from helpers.tables import row

from dsta.common import UserError, write_npz
from eval.compare import Predictions, compare, find_row, main, sentence
from eval.rows import predictions_file
from leaderboard.results import write_rows

ROWS = [
    row("WLASL100", top1_instance=0.5, top5_instance=0.9, data_sha256="d", weights_sha256="w"),
    row("asl_everyday", data_sha256="e", weights_sha256="w"),
    row("asl_everyday", "joint+bone", "equal", data_sha256="e", weights_sha256="v"),
    row("asl_everyday", "joint+bone", "fitted", data_sha256="e", weights_sha256="v"),
    row("libras11", status="no data"),
]
ALL = "joint+bone+joint_motion+bone_motion"


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ("2", 1), ("WLASL100", 0), ("asl_everyday:joint", 1), ("asl_everyday:none", 1),
        ("asl_everyday:joint+bone:fitted", 3),
        ("asl_everyday:fitted:bone+joint", 3), ("asl_everyday:folds:joint+bone:equal", 2), ("asl_everyday::joint", 1),
    ],
)  # fmt: skip
def test_rows_are_found_by_number_or_by_as_much_as_is_needed(spec, place):
    assert find_row(spec, ROWS) is ROWS[place]


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ("0", "rows 1 to 5"), ("5", "Because"), ("libras11", "rows of WLASL100, asl_everyday"),
        ("asl_everyday", "not one row but 3"),
        ("asl_everyday:joint+bone", "equal.*fitted"), ("asl_everyday:hands", "No stream"),
        ("asl_everyday:all", "No measured row"),
    ],
)  # fmt: skip
def test_a_row_that_is_none_is_one_sentence(spec, what):
    with pytest.raises(UserError, match=what):
        find_row(spec, ROWS)


def sides(n=1000, groups=False):
    rng = np.random.default_rng(0)
    names = np.array([f"c{i:04}" for i in range(n)])
    a = (rng.random(n) < 0.4).astype(int)
    b = np.where(rng.random(n) < 0.12, 0, a)
    who, kind = (np.arange(n) % 200, "signers") if groups else (np.array([]), "")
    return Predictions(names, a, who, kind), Predictions(names[::-1], b[::-1], who[::-1], kind)


def test_clips_are_paired_by_name():
    a, b = sides()
    result = compare(a, b)
    assert result.difference == pytest.approx((b.rank == 0).mean() - (a.rank == 0).mean())
    assert result.only_a == 0 and result.only_b > 0 and result.p < 1e-4


def test_only_common_clips_count():
    a, b = sides()
    part = Predictions(b.names[:300], b.rank[:300], b.clusters)
    result = compare(a, part)
    assert result.n == 300 and "(1000 in A, 300 in B)" in sentence(result, "", (1000, 300))


def test_top_5_looks_at_five_places():
    names = np.array(["a", "b"])
    a, b = Predictions(names, np.array([4, 0]), names[:0]), Predictions(names, np.array([5, 0]), names[:0])
    assert compare(a, b, 1).difference == 0 and compare(a, b, 5).difference == -0.5


def test_takes_of_one_person_stay_together():
    """Of five people one gains on every sign: as single clips that is certain, of five people it is not."""
    people = np.repeat(np.arange(5), 40)
    names = np.array([f"sign{i % 40}/{who}" for i, who in enumerate(people)])
    a, b = (Predictions(names, (people != right).astype(int), people, "signers") for right in (9, 0))
    together, alone = compare(a, b), compare(*(side._replace(kind="") for side in (a, b)))
    assert together.difference == alone.difference == pytest.approx(0.2)
    assert together.low == 0 < alone.low and "each of the signers kept together" in sentence(together, a.kind, (1, 1))


@pytest.mark.parametrize("names", [["x", "y"], ["c0001", "c0001"]])
def test_clips_that_cannot_be_paired_are_told(names):
    a, _ = sides(10)
    with pytest.raises(UserError, match=r"in common|more than once"):
        compare(a, Predictions(np.array(names), np.zeros(2, int), a.clusters))


def test_the_sentence():
    a, b = sides()
    text = sentence(compare(a, b), "", (1000, 1000))
    assert text.startswith("B is better by ") and "p < 0.0001" in text and "(n = 1000)" in text
    turned = sentence(compare(b, a), "", (1000, 1000))
    assert turned.replace("worse", "better").splitlines()[0] == text.splitlines()[0]
    assert "equally good" in sentence(compare(a, a), "", (1000, 1000))


def test_the_command(tmp_path, capsys):
    write_rows(tmp_path / "results.csv", ROWS)
    cache = tmp_path / "cache"
    a, b = sides(groups=True)
    for entry, side in ((ROWS[1], a), (ROWS[2], b)):
        hashes = {key: np.array(entry[key]) for key in ("weights_sha256", "data_sha256")}
        write_npz(predictions_file(cache, entry), **side._asdict(), **hashes)
    where = ["--results", str(tmp_path), "--cache", str(cache)]
    assert main(["asl_everyday:joint", "3", *where]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("A: asl_everyday:folds:joint:none  top-1 50.0%") and "B is better by" in out[2]
    for pair, what in (
        (("2", "1"), "different data"), (("2", "4"), "not in"), (("2", "9"), "rows 1 to 5"),
    ):  # fmt: skip
        assert main([*pair, *where]) == 2
        assert what in capsys.readouterr().err
    ROWS[2] |= {"weights_sha256": "x"}
    write_rows(tmp_path / "results.csv", ROWS)
    assert main(["2", "3", *where]) == 2
    assert "not those of the table" in capsys.readouterr().err
