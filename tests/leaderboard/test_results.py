"""The results files: schema, reading, writing, merging, the Hub's form; and the committed table itself."""

import hashlib

import pytest
from helpers.benchmarks import SMALL, network
from helpers.tables import check_table, row

from dsta.common import UserError
from eval.hub import main
from eval.recompute import recompute
from leaderboard.results import (
    COLUMNS,
    DISTURBED_COLUMNS,
    GLOSS_COLUMNS,
    KEY,
    OUT,
    ROBUSTNESS_FILE,
    check_writable,
    hash_lines,
    merged,
    read_rows,
    streams_name,
    write_dataset,
    write_robustness,
    write_rows,
)


def test_the_columns_are_the_agreed_ones():
    agreed = """dataset, protocol, streams, fusion, status, reason, n, num_classes, top1_instance, top1_instance_lo,
    top1_instance_hi, top5_instance, top5_instance_lo, top5_instance_hi, top1_class, top1_class_lo, top1_class_hi,
    top5_class, top5_class_lo, top5_class_hi, interval, log_loss, ece, clips_per_second, peak_memory_mb, parameters,
    latency_ms, fusion_weights, selection, note, run, run_sha256, device, dtype, torch, recipe, weights_sha256,
    data_sha256, commit, dirty, seconds, date, command"""
    assert list(COLUMNS) == agreed.replace("\n", "").replace(" ", "").split(",")


def test_rows_come_back_as_they_were(tmp_path):
    path = tmp_path / "results.csv"
    note = 'A "quoted", two-line\nnote: ✓'
    write_rows(path, [row(note=note, dirty=True, seconds=12.5, ece=1 / 3, clips_per_second=12345.678)])
    (back,) = read_rows(path)
    assert back["note"] == note and back["dirty"] == "true" and back["seconds"] == "12.500000"
    assert back["ece"] == "0.333333" and back["clips_per_second"] == "12345.7" and list(back) == list(COLUMNS)
    assert [p.name for p in tmp_path.iterdir()] == ["results.csv"]
    assert read_rows(tmp_path / "none.csv") == []


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe", ",".join(COLUMNS).encode() + b"\n1,2\n"])
def test_a_file_that_is_no_table_is_told(tmp_path, content):
    (tmp_path / "results.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"lacks the column|cannot be read|is cut off"):
        read_rows(tmp_path / "results.csv")


def test_new_rows_take_the_place_of_old_ones():
    old = [row(n=1), row(streams="bone", n=1), row("WLASL100", n=1)]
    new = merged(old, [row(n=2)])
    assert [(r["dataset"], r["streams"], r["n"]) for r in new] == [
        ("WLASL100", "joint", 1), ("asl_everyday", "joint", 2), ("asl_everyday", "bone", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "met_with", "left"),
    [
        ("no data", {}, "ok"),
        ("mismatch", {}, "mismatch"),
        ("error", {}, "ok"),  # the data could not even be read
        ("error", {"data_sha256": "d1"}, "ok"),
        ("error", {"data_sha256": "d1", "weights_sha256": "w1"}, "ok"),
        ("error", {"data_sha256": "d2"}, "error"),
        ("error", {"data_sha256": "d1", "weights_sha256": "w2"}, "error"),
    ],
)
def test_a_measured_row_is_unmade_only_by_a_mismatch_or_an_error_with_other_files(status, met_with, left):
    measured, new = row(data_sha256="d1", weights_sha256="w1"), row(status=status, **met_with)
    assert merged([measured], [new]) == [measured if left == "ok" else new]


@pytest.mark.parametrize("old", [[], [row(status="no data")]])
def test_an_error_is_a_row_where_nothing_was_measured(old):
    assert merged(old, [row(status="error")])[0]["status"] == "error"


def test_what_was_the_matter_before_is_forgotten():
    old = [row(status="no data", streams="joint+bone", fusion="equal"), row("libras11", status="no weights")]
    left = merged(old, [row()])
    assert [(r["dataset"], r["status"]) for r in left] == [("asl_everyday", "ok"), ("libras11", "no weights")]


@pytest.mark.parametrize("status", ["ok", "no data", "no weights", "mismatch", "error"])
def test_nothing_is_rewritten_of_a_data_set_that_is_not_here(tmp_path, status):
    """As in a fresh clone, where `run_all` finds no data at all."""
    known = [row(status=status), row(streams="bone"), row("WLASL100", status="no weights", date="2025-01-01")]
    write_rows(tmp_path / "results.csv", merged([], known))
    write_rows(tmp_path / "glosses.csv", [], GLOSS_COLUMNS)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    for dataset in ("asl_everyday", "WLASL100"):
        write_dataset(tmp_path, [row(dataset, status="no data", date="2026-02-02")], [])
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before
    write_dataset(tmp_path, [row("libras11", status="no data")], [])  # of which nothing was known
    assert [r["status"] for r in read_rows(tmp_path / "results.csv") if r["dataset"] == "libras11"] == ["no data"]


def test_glosses_of_rows_that_are_gone_go_too(tmp_path):
    gloss = {**{k: row()[k] for k in KEY}, "gloss": "book", "n": 3, "hits1": 1, "hits5": 2, "confused_count": 1}
    write_dataset(tmp_path, [row()], [gloss, gloss | {"gloss": "deaf"}])
    assert len(read_rows(tmp_path / "glosses.csv", GLOSS_COLUMNS)) == 2
    write_dataset(tmp_path, [row()], [gloss])
    assert len(read_rows(tmp_path / "glosses.csv", GLOSS_COLUMNS)) == 1
    write_dataset(tmp_path, [row(status="mismatch")], [])
    assert read_rows(tmp_path / "glosses.csv", GLOSS_COLUMNS) == []


def test_robustness_rows_replace_the_curve(tmp_path):
    curve = [{**{k: row()[k] for k in KEY}, "disturbance": "noise", "level": level, "n": 3} for level in (2.0, 5.0)]
    write_robustness(tmp_path, curve)
    write_robustness(tmp_path, curve[:1])
    assert len((tmp_path / ROBUSTNESS_FILE).read_text().splitlines()) == 2


def test_streams_are_named_in_order():
    assert streams_name({"bone_motion", "joint"}) == "joint+bone_motion"
    with pytest.raises(UserError, match="hands"):
        streams_name(["hands"])


def test_hash_lines_is_sha256sums_of_sha256sums():
    text = "aa  joint\nbb  motion\n"
    assert hash_lines({"motion": "bb", "joint": "aa"}) == hashlib.sha256(text.encode()).hexdigest()
    assert hash_lines({"": "cc"}) == "cc"


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="--out"):
        check_writable(tmp_path / "file" / "results")


def test_the_hubs_form(tmp_path, capsys):
    yaml = pytest.importorskip("yaml")
    hub = pytest.importorskip("huggingface_hub")
    network(tmp_path / "tiny" / "joint", ["a", "b"], "joint", SMALL, datasets=["asl_everyday", "libras11"])
    assert main([str(tmp_path / "tiny"), "--results", str(tmp_path)]) == 2
    assert "run eval/run_all.py first" in capsys.readouterr().err
    table = [
        row(), row(streams="joint+bone", fusion="equal"), row(streams="joint+bone", fusion="fitted", top1_instance=0.6),
        row("libras11", status="no weights"), row("WLASL100"),
    ]  # fmt: skip
    write_rows(tmp_path / "results.csv", table)
    assert main([str(tmp_path / "tiny"), "--results", str(tmp_path)]) == 0
    (file,) = (tmp_path / "tiny" / ".eval_results").iterdir()
    entries = yaml.safe_load(file.read_text())
    assert entries[0]["value"] == 60.0 and "never saw the fold" in entries[0]["notes"]
    entry = hub.EvalResultEntry(
        dataset_id="asl_everyday",
        task_id="folds/top1_instance",
        value=60.0,
        date="2026-01-01",
        notes=entries[0]["notes"],
    )
    assert hub.eval_result_entries_to_yaml([entry]) == entries[:1]
    index = yaml.safe_load((tmp_path / "tiny" / "model-index.yml").read_text())
    card = hub.ModelCardData(model_name="tiny", **{"model-index": index["model-index"]})
    assert card.to_dict()["model-index"] == index["model-index"]
    names, results = hub.repocard_data.model_index_to_eval_results(index["model-index"])
    assert names == "tiny" and {r.metric_value for r in results} == {60.0, 50.0}


def test_the_committed_table():
    rows = read_rows(OUT / "results.csv")
    if not rows:
        pytest.skip("no results yet")
    check_table(rows)


def test_the_committed_rows_are_what_the_committed_scores_give(capsys):
    recompute(OUT, [])


def test_robustness_names_the_weights_and_the_data():
    rows = read_rows(OUT / ROBUSTNESS_FILE, DISTURBED_COLUMNS)
    assert all(len(row["weights_sha256"]) == len(row["data_sha256"]) == 64 for row in rows)
