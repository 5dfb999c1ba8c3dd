"""Mistakes of the person at the keyboard: one sentence, exit code 2."""

import pytest

from dsta import identify
from dsta.common import UserError, at_least
from dsta.common.device import chosen_device


@pytest.mark.parametrize(
    ("asked", "gpus", "device"),
    [("auto", 0, "cpu"), ("auto", 1, "cuda"), ("cpu", 2, "cpu"), ("cuda", 1, "cuda"), ("cuda:1", 2, "cuda:1")],
)
def test_a_device_by_its_name(asked, gpus, device):
    assert chosen_device(asked, gpus) == device


@pytest.mark.parametrize(
    ("asked", "gpus", "sentence"),
    [
        ("foo", 1, "--device foo is not known"),
        ("cpux", 1, "not known"),
        ("cuda:", 1, "not known"),
        ("cuda:x", 1, "not known"),
        ("meta", 1, "not known"),
        ("", 1, "not known"),
        ("cuda", 0, "No GPU was found"),
        ("cuda:2", 2, "the last one here is cuda:1"),
    ],
)
def test_a_device_that_is_none(asked, gpus, sentence):
    with pytest.raises(UserError, match=sentence):
        chosen_device(asked, gpus)


def test_identify_tells_a_wrong_device_before_it_reads_anything(tmp_path, capsys):
    assert identify.main([str(tmp_path / "none.pt"), "--data", str(tmp_path), "--device", "foo"]) == 2
    assert capsys.readouterr().err.startswith("--device foo is not known")


def test_a_number_below_the_least_is_refused():
    assert at_least(1)("3") == 3
    for text in ("0", "-5", "two", ""):
        with pytest.raises(Exception, match="not a whole number, 1 or above"):
            at_least(1)(text)
